//! A person at the console, without a browser: pages, forms and a session cookie over plain HTTP.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A signed-in person.
pub struct Console {
    address: String,
    cookie: String,
}

/// What the console answered.
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// Where a redirect leads; empty without one.
    pub location: String,
    /// The page.
    pub body: String,
    cookies: Vec<String>,
}

impl Console {
    /// Signs in.
    ///
    /// # Panics
    ///
    /// When the console does not let the person in.
    pub async fn sign_in(address: &str, name: &str, password: &str) -> Self {
        Self::try_sign_in(address, name, password).await.expect("the console answers")
    }

    /// Signs in; none when the console goes away meanwhile.
    ///
    /// # Panics
    ///
    /// When the console does not let the person in.
    pub async fn try_sign_in(address: &str, name: &str, password: &str) -> Option<Self> {
        let mut console = Self { address: address.to_owned(), cookie: String::new() };
        let fields = [("name", name), ("password", password), ("next", "/")];
        let answer = console.try_post("/login", &fields).await?;
        assert_eq!(answer.status, 303, "{name} can sign in: {}", answer.body);
        console.cookie = answer.cookies.join("; ");
        Some(console)
    }

    /// The same session at another address: the server was started again.
    pub fn moves_to(&mut self, address: &str) {
        address.clone_into(&mut self.address);
    }

    /// Reads a page, following redirects.
    ///
    /// # Panics
    ///
    /// When the console does not answer.
    pub async fn get(&self, path: &str) -> Page {
        self.try_get(path).await.expect("the console answers")
    }

    /// The same; none when the console goes away meanwhile.
    pub async fn try_get(&self, path: &str) -> Option<Page> {
        let mut page = self.request("GET", path, None).await?;
        for _ in 0..5 {
            if page.location.is_empty() {
                break;
            }
            page = self.request("GET", &page.location.clone(), None).await?;
        }
        Some(page)
    }

    /// Sends a form with exactly these fields; redirects are not followed.
    ///
    /// # Panics
    ///
    /// When the console does not answer.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.try_post(path, fields).await.expect("the console answers")
    }

    async fn try_post(&self, path: &str, fields: &[(&str, &str)]) -> Option<Page> {
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        self.request("POST", path, Some(body.join("&"))).await
    }

    /// Fills the form of `page` whose action holds `action` and sends it, hidden fields included; follows the redirect.
    ///
    /// # Panics
    ///
    /// When the page has no such form, or the console does not answer.
    pub async fn submit(&self, page: &Page, action: &str, fields: &[(&str, &str)]) -> Page {
        self.try_submit(page, action, fields).await.expect("the console answers")
    }

    /// The same; none when the console goes away before its answer is read.
    ///
    /// # Panics
    ///
    /// When the page has no such form.
    pub async fn try_submit(&self, page: &Page, action: &str, fields: &[(&str, &str)]) -> Option<Page> {
        let form = Form::find(&page.body, action)
            .unwrap_or_else(|| panic!("no form for {action} in:\n{}", page.body));
        let mut all: Vec<(&str, &str)> = form
            .hidden
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !fields.iter().any(|(given, _)| given == name))
            .collect();
        all.extend_from_slice(fields);
        let answer = self.try_post(&form.action, &all).await?;
        if answer.location.is_empty() { Some(answer) } else { self.try_get(&answer.location).await }
    }

    async fn request(&self, method: &str, path: &str, body: Option<String>) -> Option<Page> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        let body = body.unwrap_or_default();
        let path = path.strip_prefix(&format!("http://{}", self.address)).unwrap_or(path);
        // HTTP/1.0: the answer ends with the connection and is never chunked.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nCookie: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.cookie,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        // A server that was killed closes its sockets as if it had said everything.
        let page = Page::read(&String::from_utf8_lossy(&answer));
        (page.status != 0).then_some(page)
    }
}

impl Page {
    fn read(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let values = |name: &str| -> Vec<String> {
            head.lines()
                .filter_map(|line| line.split_once(':'))
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
                .collect()
        };
        let cookies = values("set-cookie")
            .into_iter()
            .map(|cookie| cookie.split(';').next().unwrap_or_default().to_owned())
            .collect();
        Self {
            status,
            location: values("location").into_iter().next().unwrap_or_default(),
            body: body.to_owned(),
            cookies,
        }
    }

    /// What a person reads on it, with single spaces.
    pub fn text(&self) -> String {
        let pieces = self.body.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
        let words: Vec<String> = pieces.map(unescape).collect();
        words.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What stands in the first text area.
    pub fn text_area(&self) -> Option<String> {
        let inside = self.body.split("<textarea").nth(1)?.split("</textarea>").next()?;
        // A browser leaves out the first line end.
        Some(unescape(inside.split_once('>')?.1.trim_start_matches('\n')))
    }

    /// The first link whose address begins with `start` and goes on.
    pub fn link(&self, start: &str) -> Option<String> {
        self.links(start).into_iter().next()
    }

    /// All links whose address begins with `start`, in order.
    pub fn links(&self, start: &str) -> Vec<String> {
        let mark = format!("href=\"{start}");
        let addresses = self.body.split(mark.as_str()).skip(1).filter_map(|rest| rest.split('"').next());
        addresses.map(|rest| unescape(&format!("{start}{rest}"))).collect()
    }
}

struct Form {
    action: String,
    hidden: Vec<(String, String)>,
}

impl Form {
    fn find(page: &str, action: &str) -> Option<Self> {
        page.split("<form").skip(1).map(|form| form.split("</form>").next().unwrap_or(form)).find_map(
            |form| {
                let found = attribute(form, "action")?;
                found.contains(action).then(|| Self {
                    action: found,
                    hidden: form
                        .split("<input")
                        .skip(1)
                        .filter(|input| attribute(input, "type").as_deref() == Some("hidden"))
                        .filter_map(|input| {
                            Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default()))
                        })
                        .collect(),
                })
            },
        )
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let tag = tag.split('>').next()?;
    let from = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let length = tag[from..].find('"')?;
    Some(unescape(&tag[from..from + length]))
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
        .replace("&#38;", "&")
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
