//! A console over a fresh database, and a browser of a few lines.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot be set up must fail; nobody else reads it"
)]
#![expect(dead_code, reason = "each test file uses a part of it")]

pub mod tasks;

pub mod seed;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use chrono::{DateTime, TimeDelta, Utc};
use indexmap::IndexMap;
use orderly_engine::capability::{Role, Roles, bundle};
use orderly_engine::clock::Clock;
use orderly_engine::configuration::{
    Address, Configuration, ReceiveLocation, ReceivePort, RuleBook, SendPort, SiteClass,
};
use orderly_engine::current::Current;
use orderly_engine::directory::Directory;
use orderly_engine::people::{self, NewPerson, Passwords, Person, Strength};
use orderly_engine::store::{Durability, Store, testing};
use orderly_web::{AppState, ConsoleOptions, Parts};
use sqlx::PgPool;
use tower::ServiceExt;

pub struct Console {
    pub router: Router,
    pub pool: PgPool,
    pub store: Store,
    /// What runs; tests that deploy put the new one here, as the server does.
    pub configuration: Arc<ArcSwap<Configuration>>,
    clock: Clock,
}

/// Everybody of the sample site: (id, title, role, bundle).
pub const PEOPLE: &[(&str, &str, &str, &str)] = &[
    ("a.lind", "Anna Lind", "ward-physician", "approver"),
    ("p.ray", "Priya Ray", "ward-physician", "approver"),
    ("d.sorensen", "Dag Sorensen", "duty-physician", "team-lead"),
    ("t.visser", "Tess Visser", "integration-analyst", "analyst"),
    ("n.bakker", "Noor Bakker", "rule-reviewer", "rule-reviewer"),
    ("h.nair", "Hari Nair", "auditor", "auditor"),
    ("m.okafor", "Miriam Okafor", "interface-desk", "operator"),
    ("r.meyer", "Ruth Meyer", "interface-lead", "senior-operator"),
    ("e.costa", "Elena Costa", "patient-safety", "privacy-officer"),
    ("admin", "Administrator", "administrator", "administrator"),
    ("w.peters", "Wim Peters", "deputy", "administrator"),
];

pub fn roles() -> Roles {
    let mut roles = IndexMap::new();
    for (_, _, role, like) in PEOPLE {
        let title = format!("{}{}", role[..1].to_uppercase(), role[1..].replace('-', " "));
        let role_of = Role {
            title,
            capabilities: bundle(like).unwrap(),
            like: Some((*like).to_owned()),
            ..Role::default()
        };
        roles.insert((*role).to_owned(), role_of);
    }
    Roles(roles)
}

/// A site with two entrances and two exits, without rules.
pub fn configuration() -> Configuration {
    let mut configuration = Configuration::empty(Arc::new(RuleBook::default()));
    configuration.version = 7;
    for (name, party, port) in [("lab", "laboratory", 2575), ("registration", "registration", 2576)] {
        let mut location = ReceiveLocation::mllp("mllp", Address::new("127.0.0.1", port));
        location.party = Some(party.to_owned());
        let receive = ReceivePort {
            name: name.to_owned(),
            title: format!("What the {party} sends"),
            application: "main".to_owned(),
            locations: vec![location],
            exchange: None,
        };
        configuration.receive_ports.insert(name.to_owned(), receive);
    }
    for (name, port) in [("emr", 2580), ("billing", 2581)] {
        let mut send = SendPort::mllp(name, Address::new("127.0.0.1", port));
        send.party = Some(name.to_owned());
        configuration.send_ports.insert(name.to_owned(), send);
    }
    configuration.site.name = "northgate".into();
    configuration.site.title = "Northgate Hospital".into();
    configuration.site.timezone = chrono_tz::Europe::Amsterdam;
    configuration.site.class = SiteClass::Test;
    configuration.roles = roles().0;
    configuration
}

impl Console {
    pub async fn start() -> Self {
        Self::start_with(ConsoleOptions::default()).await
    }

    pub async fn start_with(options: ConsoleOptions) -> Self {
        let clock = Clock::manual(at("2026-11-21T09:41:00Z"));
        let database = testing::fresh_database().await;
        let store = Store::open(database, clock.clone(), Durability::NotCheckedForTests).await.unwrap();
        let pool = store.pool().clone();
        let passwords = Passwords::new(Strength::Test).unwrap();
        let configuration = Arc::new(ArcSwap::from_pointee(configuration()));
        let current = Current::new(configuration.load_full(), Directory::default(), &[]);
        let state = AppState::new(Parts {
            store: store.clone(),
            configuration: configuration.clone(),
            running: Arc::new(ArcSwap::from_pointee(current)),
            passwords: passwords.clone(),
            metrics: None,
            options,
        });
        let people: Vec<NewPerson> = PEOPLE
            .iter()
            .map(|(id, title, role, _)| NewPerson {
                person: Person {
                    id: (*id).into(),
                    title: (*title).into(),
                    email: String::new(),
                    roles: vec![(*role).into()],
                    identifiers: if *id == "p.ray" { vec!["2001".into()] } else { vec![] },
                    wards: vec![],
                },
                password: Some(format!("demo-{id}")),
            })
            .collect();
        people::enrol(&pool, &passwords, &people, at("2026-11-20T00:00:00Z")).await.unwrap();
        Self { router: orderly_web::router(state), pool, store, configuration, clock }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn pass(&self, span: TimeDelta) {
        self.clock.set(self.clock.now() + span);
    }

    /// A browser without cookies.
    pub fn browser(&self) -> Browser {
        Browser {
            router: self.router.clone(),
            cookies: Mutex::new(IndexMap::new()),
            origin: Some("http://orderly.test"),
        }
    }

    /// A browser in which this person has signed in.
    pub async fn signed_in(&self, person: &str) -> Browser {
        let browser = self.browser();
        let answer = browser.sign_in(person, &format!("demo-{person}")).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{person} could not sign in: {}", answer.body);
        browser
    }
}

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub struct Browser {
    router: Router,
    pub cookies: Mutex<IndexMap<String, String>>,
    pub origin: Option<&'static str>,
}

pub struct Answer {
    pub status: StatusCode,
    pub location: String,
    pub headers: axum::http::HeaderMap,
    pub body: String,
}

impl Answer {
    /// Value of the first hidden field of this name on the page.
    pub fn hidden(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let main = self.body.find("<main").unwrap_or(0);
        let from = self.body[main..].find(&start).map(|found| main + found + start.len());
        let from = from.unwrap_or_else(|| panic!("no field {name} in {}", self.body));
        let end = self.body[from..].find('"').unwrap() + from;
        self.body[from..end].to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{} {}", self.location, self.body);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.body.contains(text), "{text:?} is not in {}", self.body);
        self
    }
}

impl Browser {
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::builder().method("GET").uri(path), String::new()).await
    }

    /// A request that a page makes by itself.
    pub async fn refresh(&self, path: &str) -> Answer {
        let request = Request::builder().method("GET").uri(path).header("x-orderly-refresh", "yes");
        self.send(request, String::new()).await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request, body.join("&")).await
    }

    pub async fn sign_in(&self, name: &str, password: &str) -> Answer {
        self.post("/login", &[("name", name), ("password", password)]).await
    }

    async fn send(&self, request: axum::http::request::Builder, body: String) -> Answer {
        let cookies: Vec<String> =
            self.cookies.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = request.header(header::HOST, "orderly.test");
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        if let Some(origin) = self.origin {
            request = request.header(header::ORIGIN, origin);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        self.keep_cookies(&response);
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 16 << 20).await.unwrap();
        let location = parts.headers.get(header::LOCATION).map_or("", |to| to.to_str().unwrap()).to_owned();
        Answer {
            status: parts.status,
            location,
            headers: parts.headers,
            body: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    fn keep_cookies(&self, response: &Response<Body>) {
        let mut jar = self.cookies.lock().unwrap();
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let text = cookie.to_str().unwrap();
            let (name, rest) = text.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if text.contains("Max-Age=0") || value.is_empty() {
                jar.shift_remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
