//! What every page has around it: header, navigation, breadcrumb, time of the site, what was just done.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use orderly_engine::store::{AsOf, Reading};

use crate::assets;
use crate::flash::Flash;
use crate::form;
use crate::route::Needs;
use crate::routes;
use crate::site_time::Moment;
use crate::state::SiteFacts;
use crate::visit::{Guest, Visit};

/// Sections and their pages. A page that has no route yet, or that the person may not open, is not shown.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    ("Work", &[("My tasks", "/tasks"), ("Decided", "/tasks/history")]),
    (
        "Tracking",
        &[
            ("Messages", "/messages"),
            ("Access log", "/audit"),
            ("Audit chain", "/audit/verify"),
            ("Retention and holds", "/retention"),
        ],
    ),
    ("Rules", &[("Rule sets", "/rules"), ("Vocabulary", "/vocab"), ("Code sets", "/codesets")]),
    (
        "Operations",
        &[
            ("Overview", "/ops"),
            ("Ports", "/ports"),
            ("Queues", "/queues"),
            ("Suspended", "/suspended"),
            ("Batches", "/batches"),
            ("Subscriptions", "/subscriptions"),
            ("Orchestrations", "/orchestrations"),
            ("Alerts", "/alerts"),
        ],
    ),
];

/// A section in the header.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) href: &'static str,
    pub(crate) current: bool,
    pub(crate) pages: Vec<NavPage>,
}

/// A page of the current section.
pub(crate) struct NavPage {
    pub(crate) name: &'static str,
    pub(crate) href: &'static str,
    pub(crate) current: bool,
}

/// One step of the breadcrumb.
pub(crate) struct Crumb {
    pub(crate) name: String,
    pub(crate) href: String,
}

/// Who is signed in, for the header.
pub(crate) struct Who {
    pub(crate) title: String,
    pub(crate) roles: String,
}

/// How wide a page runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// Lists: up to 1,440 px.
    List,
    /// Decisions and forms: up to 960 px.
    Form,
}

/// The field `shell` of every page; `base.html` reads it.
pub(crate) struct Shell {
    pub(crate) title: String,
    pub(crate) site_title: String,
    pub(crate) environment: Option<String>,
    pub(crate) who: Option<Who>,
    pub(crate) sections: Vec<Section>,
    pub(crate) crumbs: Vec<Crumb>,
    pub(crate) flash: Option<Flash>,
    pub(crate) stylesheet: String,
    pub(crate) icon: String,
    /// Scripts that enhance every page of a signed-in person.
    pub(crate) scripts: Vec<String>,
    /// The screen locks after so many minutes without use.
    pub(crate) lock_minutes: u32,
    /// Where the lock comes back to.
    pub(crate) path: String,
    pub(crate) width: Width,
    pub(crate) now: DateTime<Utc>,
    /// Until when the page knows, where it was read from a standby.
    pub(crate) as_of: Option<AsOf>,
    pub(crate) zone: Tz,
    pub(crate) site: Arc<SiteFacts>,
    /// For the sign-out form of the header.
    pub(crate) form_key: String,
}

impl Shell {
    /// For somebody who is signed in. `title` is the `h1` and never holds patient data.
    pub(crate) fn new(visit: &Visit, title: impl Into<String>) -> Self {
        let mut shell = Self::for_guest(&visit.guest, title);
        shell.who =
            Some(Who { title: visit.person.title.clone(), roles: visit.person.role_titles.join(", ") });
        shell.sections = sections(visit);
        shell.scripts = vec![assets::address("live.js"), assets::address("lock.js")];
        shell
    }

    /// For anybody: no navigation, no name.
    pub(crate) fn for_guest(guest: &Guest, title: impl Into<String>) -> Self {
        let site = &guest.site;
        Self {
            title: title.into(),
            site_title: site.title.clone(),
            environment: (!site.production).then(|| site.environment.clone()),
            who: None,
            sections: Vec::new(),
            crumbs: Vec::new(),
            flash: guest.flash.clone(),
            stylesheet: assets::address("console.css"),
            icon: assets::address("icon.svg"),
            scripts: Vec::new(),
            lock_minutes: guest.lock_minutes,
            path: guest.path.clone(),
            width: Width::List,
            now: guest.now,
            as_of: None,
            zone: site.timezone,
            site: Arc::clone(site),
            form_key: form::new_key(),
        }
    }

    /// Whether the console has this page yet.
    pub(crate) fn has_page(path: &str) -> bool {
        needs(path).is_some()
    }

    /// Adds a step to the breadcrumb, outermost first. The page itself is added by the template.
    pub(crate) fn crumb(mut self, name: impl Into<String>, href: impl Into<String>) -> Self {
        self.crumbs.push(Crumb { name: name.into(), href: href.into() });
        self
    }

    pub(crate) fn width(mut self, width: Width) -> Self {
        self.width = width;
        self
    }

    pub(crate) fn width_class(&self) -> &'static str {
        match self.width {
            Width::List => "wide",
            Width::Form => "narrow",
        }
    }

    /// The page was read there.
    pub(crate) fn read_by(mut self, reading: &Reading) -> Self {
        self.as_of = reading.as_of();
        self
    }

    /// "10:41:03": until when the page knows.
    pub(crate) fn known_until(&self) -> String {
        let at = self.as_of.map_or(self.now, |as_of| as_of.at);
        at.with_timezone(&self.zone).format("%H:%M:%S").to_string()
    }

    /// "As of 10:41:03, 2 s behind", where the page was read from a standby.
    pub(crate) fn lag(&self) -> Option<String> {
        let as_of = self.as_of?;
        Some(format!("As of {}, {} s behind", self.known_until(), as_of.behind.num_seconds()))
    }

    /// The name of a person for people; the sign-in name of somebody whom the site does not have any more.
    pub(crate) fn person(&self, id: &str) -> String {
        self.site.people.get(id).filter(|title| !title.is_empty()).map_or_else(|| id.to_owned(), Clone::clone)
    }

    /// The title of a role; its name when the site does not have it any more.
    pub(crate) fn role(&self, name: &str) -> String {
        self.site.roles.0.get(name).map_or_else(|| name.to_owned(), |role| role.title.clone())
    }

    /// "21 Nov 2026 10:41" in the zone of the site.
    pub(crate) fn time(&self, at: DateTime<Utc>) -> Moment {
        Moment::new(at, self.zone)
    }

    /// With milliseconds.
    pub(crate) fn exact_time(&self, at: DateTime<Utc>) -> Moment {
        Moment::exact(at, self.zone)
    }

    /// "10:41" today, with the date on other days.
    pub(crate) fn near_time(&self, at: DateTime<Utc>) -> Moment {
        Moment::near(at, self.zone, self.now)
    }

    /// "Europe/Amsterdam".
    pub(crate) fn zone_name(&self) -> &'static str {
        self.zone.name()
    }

    /// "21 Nov 2026 10:41": for print.
    pub(crate) fn full_clock(&self) -> Moment {
        self.time(self.now)
    }

    /// "Site time 10:41 CET".
    pub(crate) fn clock(&self) -> String {
        self.now.with_timezone(&self.zone).format("%H:%M %Z").to_string()
    }
}

/// What the route of a page needs; none when the page does not exist.
fn needs(path: &str) -> Option<Needs> {
    static PAGES: OnceLock<HashMap<&'static str, Needs>> = OnceLock::new();
    let pages = PAGES.get_or_init(|| {
        routes::table()
            .iter()
            .filter(|route| route.method() == "GET")
            .map(|route| (route.path(), route.needs()))
            .collect()
    });
    pages.get(path).copied()
}

fn sections(visit: &Visit) -> Vec<Section> {
    let at = visit.guest.path.as_str();
    let within = |href: &str| at == href || at.strip_prefix(href).is_some_and(|rest| rest.starts_with('/'));
    SECTIONS
        .iter()
        .filter_map(|(name, pages)| {
            let mut pages: Vec<NavPage> = pages
                .iter()
                .filter(|(_, href)| needs(href).is_some_and(|needs| needs.met_by(|need| visit.may(need))))
                .map(|(name, href)| NavPage { name, href, current: within(href) })
                .collect();
            // "/tasks" is around "/tasks/history" too: only the longest address is the current one.
            let longest = pages.iter().filter(|page| page.current).map(|page| page.href.len()).max();
            for page in &mut pages {
                page.current = page.current && Some(page.href.len()) == longest;
            }
            let href = pages.first()?.href;
            Some(Section { name, href, current: longest.is_some(), pages })
        })
        .collect()
}
