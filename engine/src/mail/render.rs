//! Turns one row of the outbox into a mail: plain text and HTML that say the same, headers that let mail
//! programs group what belongs together. It only knows ids, titles and links: nothing here can reach a message.

use chrono::{DateTime, Utc};
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use sha2::{Digest, Sha256};

/// Longest line of the text part.
const TEXT_COLUMNS: usize = 76;

/// One due row of `outgoing_mail`.
#[derive(Debug, Clone)]
pub struct OutgoingMail {
    /// Id of the row; the Message-ID is made from it, so that a repeated hand-over can be recognised.
    pub id: i64,
    /// Address of one person.
    pub recipient: String,
    /// Without the prefix of the installation.
    pub subject: String,
    /// Paragraphs, separated by empty lines.
    pub body: String,
    /// Path in the console.
    pub link: Option<String>,
    /// What the mail belongs to, such as `task:…` or `alert:…`.
    pub thread: Option<String>,
    /// When its cause was committed.
    pub created_at: DateTime<Utc>,
}

/// What all mails of an installation have in common.
#[derive(Debug, Clone)]
pub struct Letterhead {
    /// Sender, `Orderly <orderly@…>`.
    pub from: Mailbox,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
    /// `[Orderly]`, `[Orderly TEST]` or `[Orderly PROD]`.
    pub prefix: String,
    /// Address of the console, put before links.
    pub console_url: String,
    /// Name of the installation, for the last line.
    pub site_title: String,
}

/// The outbox row cannot become a mail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address does not parse.
    #[error("the address of the recipient is not a mail address")]
    Recipient,
    /// A header could not be written.
    #[error("the mail could not be composed")]
    Compose(#[from] lettre::error::Error),
}

/// Composes the mail of one row.
///
/// # Errors
///
/// Refuses a recipient that is no mail address.
pub fn render(mail: &OutgoingMail, head: &Letterhead) -> Result<Message, Error> {
    let to: Mailbox = mail.recipient.parse().map_err(|_| Error::Recipient)?;
    let domain = head.from.email.domain();
    let link = mail.link.as_ref().map(|path| absolute(&head.console_url, path));
    let mut builder = Message::builder()
        .from(head.from.clone())
        .to(to)
        .subject(format!("{} {}", head.prefix, one_line(&mail.subject)))
        .date(mail.created_at.into())
        .message_id(Some(format!("<mail.{:x}@{domain}>", mail.id)))
        .header(AutoSubmitted);
    if let Some(reply_to) = &head.reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    if let Some(thread) = &mail.thread {
        // Every mail of a thread answers one made-up first mail, so no one needs to remember the real first.
        let root = format!("<thread.{}@{domain}>", short_hash(thread));
        builder = builder.in_reply_to(root.clone()).references(root);
    }
    let foot = format!("Sent by Orderly at {}. Details are shown after signing in.", head.site_title);
    let body = MultiPart::alternative_plain_html(
        text_part(&mail.body, link.as_deref(), &foot),
        html_part(&mail.body, link.as_deref(), &foot),
    );
    Ok(builder.multipart(body)?)
}

fn absolute(console_url: &str, path: &str) -> String {
    format!("{}/{}", console_url.trim_end_matches('/'), path.trim_start_matches('/'))
}

/// A line break in a subject would be a header of its own.
fn one_line(text: &str) -> String {
    text.split(['\r', '\n']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

fn paragraphs(body: &str) -> impl Iterator<Item = &str> {
    body.split("\n\n").map(|paragraph| paragraph.trim_matches(['\r', '\n'])).filter(|text| !text.is_empty())
}

fn text_part(body: &str, link: Option<&str>, foot: &str) -> String {
    let mut text = String::new();
    for paragraph in paragraphs(body) {
        for line in paragraph.lines() {
            wrap_into(&mut text, line);
        }
        text.push('\n');
    }
    if let Some(link) = link {
        // Never wrapped: a broken link is no link.
        text.push_str("Open: ");
        text.push_str(link);
        text.push_str("\n\n");
    }
    text.push_str("-- \n");
    wrap_into(&mut text, foot);
    text
}

fn wrap_into(text: &mut String, line: &str) {
    let mut column = 0;
    for word in line.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > TEXT_COLUMNS {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

fn html_part(body: &str, link: Option<&str>, foot: &str) -> String {
    let mut html = String::from(
        "<!doctype html><html><body style=\"font-family:system-ui,sans-serif;font-size:15px;line-height:1.5;\
         color:#1c2530\">",
    );
    for paragraph in paragraphs(body) {
        let lines: Vec<_> = paragraph.lines().map(escape).collect();
        html.push_str(&format!("<p>{}</p>\r\n", lines.join("<br>\r\n")));
    }
    if let Some(link) = link {
        let link = escape(link);
        html.push_str(&format!("<p>Open: <a href=\"{link}\">{link}</a></p>\r\n"));
    }
    html.push_str(&format!("<p style=\"color:#5c6875\">{}</p></body></html>\r\n", escape(foot)));
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// RFC 3834: tells answering machines not to answer.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Letterhead {
        Letterhead {
            from: "Orderly <orderly@northgate.example>".parse().unwrap(),
            reply_to: Some("desk@northgate.example".parse().unwrap()),
            prefix: "[Orderly]".into(),
            console_url: "https://orderly.example/".into(),
            site_title: "Northgate Hospital".into(),
        }
    }

    fn mail() -> OutgoingMail {
        OutgoingMail {
            id: 0x1f,
            recipient: "a.lind@northgate.example".into(),
            subject: "Task waiting: Critical value".into(),
            body: "You are asked to decide one task.\n\nKind: Critical value\nDue: 13:15".into(),
            link: Some("/tasks/01j".into()),
            thread: Some("task:5".into()),
            created_at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        }
    }

    fn rendered(mail: &OutgoingMail) -> String {
        String::from_utf8(render(mail, &head()).unwrap().formatted()).unwrap()
    }

    #[test]
    fn the_same_row_gives_the_same_message_id_and_its_thread_one_root() {
        let (first, again) = (rendered(&mail()), rendered(&mail()));
        assert!(first.contains("Message-ID: <mail.1f@northgate.example>"), "{first}");
        assert!(again.contains("Message-ID: <mail.1f@northgate.example>"));
        let other = rendered(&OutgoingMail { id: 0x20, ..mail() });
        let root = |text: &str| text.lines().find(|line| line.starts_with("References:")).unwrap().to_owned();
        assert_eq!(root(&first), root(&other));
        assert!(first.contains("In-Reply-To: <thread."));
    }

    /// Text and HTML as a mail program shows them.
    fn parts(mail: &OutgoingMail) -> (String, String) {
        let (mut text, mut html) = (String::new(), String::new());
        crate::mail::catcher::read_parts(&rendered(mail), &mut text, &mut html);
        (text, html)
    }

    #[test]
    fn text_and_html_say_the_same_and_link_to_the_console() {
        let (text, html) = parts(&mail());
        for part in [&text, &html] {
            assert!(part.contains("You are asked to decide one task."), "{part}");
            assert!(part.contains("https://orderly.example/tasks/01j"), "{part}");
        }
        let raw = rendered(&mail());
        assert!(raw.contains("multipart/alternative"));
        assert!(raw.contains("Auto-Submitted: auto-generated"));
        assert!(raw.contains("Subject: [Orderly] Task waiting: Critical value"));
    }

    #[test]
    fn a_line_break_in_a_subject_makes_no_header() {
        let text = rendered(&OutgoingMail { subject: "Alert\r\nBcc: x@y.example".into(), ..mail() });
        assert!(text.contains("Subject: [Orderly] Alert Bcc: x@y.example"), "{text}");
    }

    #[test]
    fn markup_in_a_body_is_only_text() {
        let (_, html) = parts(&OutgoingMail { body: "<script>x</script> & more".into(), ..mail() });
        assert!(html.contains("&lt;script&gt;x&lt;/script&gt; &amp; more"), "{html}");
    }

    #[test]
    fn lines_of_the_text_part_stay_within_76_columns() {
        let part = text_part(&"word ".repeat(100), None, "foot");
        assert!(part.lines().all(|line| line.chars().count() <= 76), "{part}");
    }

    #[test]
    fn a_recipient_that_is_no_address_is_refused() {
        let wrong = OutgoingMail { recipient: "nobody".into(), ..mail() };
        assert!(matches!(render(&wrong, &head()), Err(Error::Recipient)));
    }
}
