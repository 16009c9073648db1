//! A small real SMTP server that keeps what it is given in memory: for the demo, whose page shows the mails,
//! and for tests. It relays nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Mails kept; the oldest goes first.
const MAILS_KEPT: usize = 500;
/// Longest mail taken.
const MAIL_BYTES_MAX: usize = 1 << 20;
/// Longest command line taken.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A mail that arrived.
#[derive(Debug, Clone)]
pub struct CaughtMail {
    /// Running number, from 1.
    pub number: u64,
    /// Envelope sender.
    pub from: String,
    /// Envelope recipients.
    pub to: Vec<String>,
    /// Subject, decoded.
    pub subject: String,
    /// `Date` header as written.
    pub date: String,
    /// `Message-ID` header.
    pub message_id: String,
    /// Plain text part, decoded.
    pub text: String,
    /// HTML part, decoded; empty when there is none.
    pub html: String,
    /// All of it, as it came.
    pub raw: String,
}

#[derive(Debug, Default)]
struct Kept {
    mails: VecDeque<CaughtMail>,
    count: u64,
    refuse: VecDeque<&'static str>,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    count: watch::Sender<u64>,
}

/// The server; it stops when this is dropped.
#[derive(Debug)]
pub struct MailCatcher {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl MailCatcher {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// Fails when the address is in use.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { kept: Mutex::default(), count: watch::Sender::new(0) });
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        tracker.spawn(accept(listener, Arc::clone(&shared), stop.clone(), tracker.clone()));
        Ok(Self { address, shared, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What arrived so far, oldest first.
    pub fn mails(&self) -> Vec<CaughtMail> {
        self.shared.lock().mails.iter().cloned().collect()
    }

    /// Waits until so many mails arrived in all, then gives them.
    pub async fn wait_for(&self, count: u64) -> Vec<CaughtMail> {
        let mut seen = self.shared.count.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = seen.wait_for(|now| *now >= count).await;
        self.mails()
    }

    /// Answers the next mail with this line (such as `451 try later`) in place of taking it.
    pub fn refuse_next(&self, answer: &'static str) {
        self.shared.lock().refuse.push_back(answer);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, from: String, to: Vec<String>, raw: String) {
        let mut kept = self.lock();
        kept.count += 1;
        let (mut text, mut html) = (String::new(), String::new());
        read_parts(&raw, &mut text, &mut html);
        let mail = CaughtMail {
            number: kept.count,
            from,
            to,
            subject: decode_words(&header(&raw, "Subject")),
            date: header(&raw, "Date"),
            message_id: header(&raw, "Message-ID"),
            text,
            html,
            raw,
        };
        if kept.mails.len() == MAILS_KEPT {
            kept.mails.pop_front();
        }
        kept.mails.push_back(mail);
        self.count.send_replace(kept.count);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken, tracker: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        if let Ok((stream, _)) = accepted {
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            tracker.spawn(async move {
                // A client that goes away in the middle of a mail has sent none.
                let _ = stop.run_until_cancelled(converse(stream, &shared)).await;
            });
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 orderly mail catcher\r\n").await?;
    let (mut from, mut to) = (String::new(), Vec::new());
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 || line.len() > LINE_BYTES_MAX {
            return Ok(());
        }
        let command = line.trim_end();
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-orderly\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN",
            "HELO" | "NOOP" => "250 orderly",
            "AUTH" => "235 welcome",
            "MAIL" => {
                (from, to) = (address_in(command), Vec::new());
                "250 sender taken"
            }
            "RCPT" => {
                to.push(address_in(command));
                "250 recipient taken"
            }
            "RSET" => {
                (from, to) = (String::new(), Vec::new());
                "250 forgotten"
            }
            "DATA" => {
                stream.write_all(b"354 go on, end with a dot\r\n").await?;
                let Some(raw) = read_data(&mut stream).await? else { return Ok(()) };
                let refusal = shared.lock().refuse.pop_front();
                if refusal.is_none() {
                    shared.keep(std::mem::take(&mut from), std::mem::take(&mut to), raw);
                }
                refusal.unwrap_or("250 kept")
            }
            "QUIT" => {
                return stream.write_all(b"221 bye\r\n").await;
            }
            _ => "502 not known here",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

async fn read_data(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
) -> std::io::Result<Option<String>> {
    let mut raw = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 || raw.len() + line.len() > MAIL_BYTES_MAX {
            return Ok(None);
        }
        if line == b".\r\n" || line == b".\n" {
            return Ok(Some(String::from_utf8_lossy(&raw).into_owned()));
        }
        // RFC 5321 4.5.2: a leading dot was doubled by the sender.
        raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn address_in(command: &str) -> String {
    let after = command.split_once('<').map_or("", |(_, rest)| rest);
    after.split_once('>').map_or("", |(address, _)| address).to_owned()
}

/// A header of the mail or part, unfolded; empty when absent.
fn header(part: &str, name: &str) -> String {
    let mut value: Option<String> = None;
    for line in part.lines().take_while(|line| !line.is_empty()) {
        match (&mut value, line.split_once(':')) {
            (Some(value), _) if line.starts_with([' ', '\t']) => value.push_str(line),
            (Some(_), _) => break,
            (None, Some((key, rest))) if key.eq_ignore_ascii_case(name) => {
                value = Some(rest.trim().to_owned())
            }
            _ => {}
        }
    }
    value.unwrap_or_default()
}

/// Adds the plain and the HTML parts of a mail, decoded.
pub(super) fn read_parts(part: &str, text: &mut String, html: &mut String) {
    let kind = header(part, "Content-Type");
    let body = part.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    if let Some((_, rest)) = kind.split_once("boundary=") {
        let boundary = rest.trim_start_matches('"').split(['"', ';']).next().unwrap_or_default();
        let mark = format!("--{boundary}");
        for inner in body.split(mark.as_str()).skip(1).filter(|inner| !inner.starts_with("--")) {
            read_parts(inner.trim_start_matches("\r\n"), text, html);
        }
        return;
    }
    let decoded = match header(part, "Content-Transfer-Encoding").to_ascii_lowercase().as_str() {
        "quoted-printable" => decode_quoted(body, false),
        "base64" => decode_base64(body),
        _ => body.as_bytes().to_vec(),
    };
    let decoded = String::from_utf8_lossy(&decoded).replace("\r\n", "\n");
    *(if kind.starts_with("text/html") { html } else { text }) = decoded;
}

/// RFC 2047 words in a header, UTF-8 only.
fn decode_words(value: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = value;
    while let Some(start) = rest.find("=?") {
        let (before, word) = rest.split_at(start);
        if !before.trim().is_empty() || decoded.is_empty() {
            decoded.extend_from_slice(before.as_bytes());
        }
        let mut pieces = word[2..].splitn(4, '?');
        let (_, encoding, content, after) = (pieces.next(), pieces.next(), pieces.next(), pieces.next());
        let (Some(encoding), Some(content), Some(after)) = (encoding, content, after) else { break };
        decoded.extend(match encoding {
            "b" | "B" => decode_base64(content),
            _ => decode_quoted(content, true),
        });
        rest = after.strip_prefix('=').unwrap_or(after);
    }
    decoded.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&decoded).into_owned()
}

fn decode_quoted(text: &str, in_header: bool) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'=' if bytes[at + 1..].starts_with(b"\r\n") => at += 2,
            b'=' => {
                let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                decoded.push(hex.unwrap_or(b'='));
                at += if hex.is_some() { 2 } else { 0 };
            }
            b'_' if in_header => decoded.push(b' '),
            byte => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}

fn decode_base64(text: &str) -> Vec<u8> {
    let (mut decoded, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(((bits >> count) & 0xff) as u8);
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

    async fn sent(subject: &str, body: &str) -> (MailCatcher, Result<(), String>) {
        let catcher = MailCatcher::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let result = send(&catcher, subject, body).await;
        (catcher, result)
    }

    async fn send(catcher: &MailCatcher, subject: &str, body: &str) -> Result<(), String> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
            .port(catcher.address().port())
            .build();
        let mail = Message::builder()
            .from("a@b.example".parse().unwrap())
            .to("c@d.example".parse().unwrap())
            .subject(subject)
            .body(body.to_owned())
            .unwrap();
        transport.send(mail).await.map(|_| ()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_mail_is_kept_with_its_envelope_and_text() {
        let (catcher, result) = sent("Hello", "One\n.two\nthree").await;
        result.unwrap();
        let mail = catcher.mails().pop().unwrap();
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("a@b.example", &["c@d.example".to_owned()][..])
        );
        assert_eq!((mail.subject.as_str(), mail.text.trim_end()), ("Hello", "One\n.two\nthree"));
    }

    #[tokio::test]
    async fn letters_beyond_ascii_are_decoded() {
        let body = format!("Zürich {}", "ø".repeat(120));
        let (catcher, result) =
            sent("Prüfung für Sørensen, ein recht langer Betreff über zwei Zeilen", &body).await;
        result.unwrap();
        let mail = catcher.mails().pop().unwrap();
        assert_eq!(mail.subject, "Prüfung für Sørensen, ein recht langer Betreff über zwei Zeilen");
        assert_eq!(mail.text.trim_end(), body);
    }

    #[tokio::test]
    async fn it_refuses_once_when_told() {
        let catcher = MailCatcher::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        catcher.refuse_next("451 later");
        assert!(send(&catcher, "x", "y").await.unwrap_err().contains("451") || catcher.mails().is_empty());
        send(&catcher, "x", "y").await.unwrap();
        assert_eq!(catcher.mails().len(), 1);
    }
}
