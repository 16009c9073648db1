//! A person in front of a real browser: Chromium without a window, driven through chromedriver.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use orderly_tests::{Northgate, eventually, patience};
use serde_json::{Value, json};
use tempfile::TempDir;

const WITHOUT_DRIVER: &str = "the browser tests need chromium and chromedriver: `make test` installs them";

/// Nothing that looks outside this machine, and nothing that asks.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1280,900",
];

/// One browser with its own cookies; it ends with the test.
pub(crate) struct Browser {
    client: Client,
    console: String,
    driver: Driver,
}

impl Browser {
    /// Opens one that looks at the console of `northgate`.
    pub(crate) async fn open(northgate: &Northgate) -> Self {
        Self::open_at(&northgate.server.address("http")).await
    }

    /// Opens one that looks at the console at `address`.
    pub(crate) async fn open_at(address: &str) -> Self {
        let driver = Driver::start().await;
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("--user-data-dir={}", driver.profile.path().display()));
        let wanted = json!({ "goog:chromeOptions": { "args": flags } });
        let Value::Object(wanted) = wanted else { unreachable!("written as an object above") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await
            .unwrap_or_else(|error| panic!("{WITHOUT_DRIVER} ({error})"));
        Self { client, console: format!("http://{address}"), driver }
    }

    /// Goes to a page of the console.
    pub(crate) async fn go(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.console)).await.expect("the console answers");
    }

    /// A sample person of the demo signs in, after whoever sat here before signed out.
    pub(crate) async fn sign_in(&self, name: &str) {
        self.client.delete_all_cookies().await.expect("cookies can be deleted");
        self.go("/login").await;
        self.type_password_of(name).await;
    }

    /// Fills the sign-in form that is on the page.
    pub(crate) async fn type_password_of(&self, name: &str) {
        self.fill("#name", name).await;
        self.fill("#password", &password(name)).await;
        self.press("Sign in").await;
        self.sees("Sign out").await;
    }

    /// Writes into a field, in place of what stands there.
    pub(crate) async fn fill(&self, field: &str, text: &str) {
        let field = self.find(field).await;
        field.clear().await.expect("the field can be emptied");
        field.send_keys(text).await.expect("the field takes text");
    }

    /// Pastes a long text into a field, in place of what stands there.
    pub(crate) async fn paste(&self, field: &str, text: &str) {
        self.run("document.querySelector(arguments[0]).value = arguments[1]", &[field, text]).await;
    }

    /// What a field holds.
    pub(crate) async fn content(&self, field: &str) -> String {
        self.find(field).await.prop("value").await.expect("readable").unwrap_or_default()
    }

    /// Clicks on what `selector` finds.
    pub(crate) async fn click(&self, selector: &str) {
        self.find(selector).await.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Presses the button that says `words`.
    pub(crate) async fn press(&self, words: &str) {
        self.by_words("button", words).await.click().await.unwrap_or_else(|error| panic!("{words}: {error}"));
    }

    /// Follows the link whose words hold `words`.
    pub(crate) async fn follow(&self, words: &str) {
        self.by_words("a", words).await.click().await.unwrap_or_else(|error| panic!("{words}: {error}"));
    }

    /// Waits for the page to say something.
    pub(crate) async fn sees(&self, words: &str) {
        self.within(&format!("says “{words}”"), async || self.text().await.contains(words).then_some(()))
            .await;
    }

    /// Opens a page again and again until it says something.
    pub(crate) async fn reloads_until(&self, path: &str, words: &str) {
        self.within(&format!("says “{words}”"), async || {
            self.go(path).await;
            self.text().await.contains(words).then_some(())
        })
        .await;
    }

    /// What is to read on the page, folded parts included.
    pub(crate) async fn text(&self) -> String {
        let text =
            self.run("return document.body ? document.body.textContent.replace(/\\s+/g, ' ') : ''", &[]);
        text.await.as_str().unwrap_or_default().to_owned()
    }

    /// The path of the page.
    pub(crate) async fn path(&self) -> String {
        let url = self.client.current_url().await.expect("a page is open").to_string();
        url.strip_prefix(&self.console).unwrap_or(&url).to_owned()
    }

    /// Whether the page has something that `selector` finds.
    pub(crate) async fn has(&self, selector: &str) -> bool {
        self.client.find(Locator::Css(selector)).await.is_ok()
    }

    /// Nothing of a message has become a part of the page.
    pub(crate) async fn runs_nothing(&self) {
        let path = self.path().await;
        let title = self.run("return document.title", &[]).await;
        assert_ne!(title, "owned", "a script of a message ran on {path}");
        let foreign = "return document.querySelectorAll('main script, main img, main b, [onerror], [onmouseover]').length";
        assert_eq!(self.run(foreign, &[]).await, 0, "markup of a message stands on {path}");
    }

    /// Looks at the same page on a phone: it must not scroll sideways.
    pub(crate) async fn fits_a_phone(&self) {
        self.screen(360, 780).await;
        let widths = self.run("return [document.documentElement.scrollWidth, window.innerWidth]", &[]).await;
        let path = self.path().await;
        assert_eq!(widths[1], 360, "the window of {path} is as wide as a phone");
        let wide = self.run(TOO_WIDE, &[]).await;
        assert_eq!(widths[0], 360, "{path} scrolls sideways on a phone, because of {wide}");
        self.screen(1280, 900).await;
    }

    /// Sets the size of the screen.
    pub(crate) async fn screen(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Says something in the protocol of the browser itself, for what the driver has no words for.
    pub(crate) async fn devtools(&self, command: &str, given: Value) -> Value {
        let session = self.client.session_id().await.expect("readable").expect("a session is open");
        let path = format!("/session/{session}/goog/cdp/execute");
        let port = self.driver.port;
        let body = json!({ "cmd": command, "params": given }).to_string();
        let answer = tokio::task::spawn_blocking(move || ask_driver(port, "POST", &path, &body)).await;
        let answer = answer.expect("it did not panic").expect("the driver answers");
        serde_json::from_str::<Value>(&answer).unwrap_or_default()["value"].take()
    }

    async fn run(&self, script: &str, given: &[&str]) -> Value {
        let given = given.iter().map(|text| json!(text)).collect();
        // A page that is just being left has no answer; whoever waits asks again.
        self.client.execute(script, given).await.unwrap_or_default()
    }

    async fn find(&self, selector: &str) -> Element {
        self.wait_for(Locator::Css(selector), selector).await
    }

    async fn by_words(&self, tag: &str, words: &str) -> Element {
        let path = format!("//main//{tag}[contains(normalize-space(.), \"{words}\")]");
        self.wait_for(Locator::XPath(&path), words).await
    }

    async fn wait_for(&self, locator: Locator<'_>, what: &str) -> Element {
        self.within(&format!("has {what}"), async || self.client.find(locator).await.ok()).await
    }

    /// Waits for something on the page; the failure tells what was there in its place.
    async fn within<T>(&self, what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
        match tokio::time::timeout(patience() / 3, eventually(what, probe)).await {
            Ok(found) => found,
            Err(_) => panic!("the page never {what}; it is {}:\n{}", self.path().await, self.text().await),
        }
    }
}

/// The elements that stick out of the page, for the failure.
const TOO_WIDE: &str = "return [...document.querySelectorAll('main *, header *')] \
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .raw')) \
    .slice(0, 5).map(e => e.outerHTML.slice(0, 80)).join(' ; ')";

/// The password of a sample person: `demo-` and the family name.
pub(crate) fn password(name: &str) -> String {
    format!("demo-{}", name.split('.').next_back().unwrap_or(name))
}

/// A chromedriver process with the folder of its browser.
struct Driver {
    process: Child,
    port: u16,
    profile: TempDir,
}

impl Driver {
    async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder can be made");
        let log = std::fs::File::create(profile.path().join("driver.log")).expect("a file can be made");
        let program = std::env::var_os("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
        let mut process = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{WITHOUT_DRIVER} ({error})"));
        let log = profile.path().join("driver.log");
        let port = eventually("chromedriver listens", async || {
            if let Ok(Some(status)) = process.try_wait() {
                panic!("{WITHOUT_DRIVER} ({status})");
            }
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let (_, rest) = text.split_once("started successfully on port ")?;
            rest.split_once('.').and_then(|(port, _)| port.parse().ok())
        })
        .await;
        Self { process, port, profile }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Asked to, it closes its browser first; killed, it would leave it behind.
        let _gone_already = ask_driver(self.port, "GET", "/shutdown", "");
        let _gone_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// One request to the driver, by hand: also where nothing asynchronous can run.
fn ask_driver(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    // The driver keeps the connection, whatever it is asked: its length tells where the answer ends.
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or_default();
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
