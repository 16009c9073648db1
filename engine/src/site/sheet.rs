//! Reading one file of a site folder: objects key by key, kinds of text, references to other objects.
//!
//! Every mistake is noted and reading goes on with the default, so that one run shows all of them.

use std::{cell::RefCell, time::Duration};

use orderly_rules::{
    diagnostic::{Diagnostic, Problems, did_you_mean},
    yaml::{Codes, Keys, Kind, Node, Span, Spanned},
};

use crate::configuration::{Address, Pattern, PeerRange, Secret};

/// Codes of this format; the shared reader uses them too.
pub(super) const CODES: &Codes = &Codes::SITE;

/// What a name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Referent {
    Application,
    Party,
    ReceivePort,
    SendPort,
    SendPortGroup,
    Role,
    Team,
    Person,
    RetentionClass,
    Profile,
    Holidays,
    Calendar,
}

impl Referent {
    /// The glossary's word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Party => "party",
            Self::ReceivePort => "receive port",
            Self::SendPort => "send port",
            Self::SendPortGroup => "send port group",
            Self::Role => "role",
            Self::Team => "team",
            Self::Person => "person",
            Self::RetentionClass => "retention class",
            Self::Profile => "message profile",
            Self::Holidays => "list of holidays",
            Self::Calendar => "calendar",
        }
    }
}

/// A name that must be the name of something.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) to: Referent,
    pub(super) name: String,
    pub(super) span: Span,
}

/// One file while it is read.
pub(super) struct Sheet {
    problems: RefCell<Problems>,
    references: RefCell<Vec<Reference>>,
}

impl Sheet {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self { problems: RefCell::new(Problems::new(file, text)), references: RefCell::default() }
    }

    pub(super) fn file(&self) -> String {
        self.problems.borrow().file().to_owned()
    }

    pub(super) fn parse(&self, text: &str) -> Option<Node> {
        orderly_rules::yaml::parse(text, CODES, &mut self.problems.borrow_mut())
    }

    pub(super) fn error(&self, code: &str, span: Span, message: impl Into<String>) {
        self.problems.borrow_mut().error(code, span, message);
    }

    pub(super) fn error_help(
        &self,
        code: &str,
        span: Span,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.problems.borrow_mut().error(code, span, message).help = help;
    }

    pub(super) fn warning(&self, code: &str, span: Span, message: impl Into<String>) {
        self.problems.borrow_mut().warning(code, span, message);
    }

    /// Lets a reader of another crate note what it finds.
    pub(super) fn with_problems<T>(&self, read: impl FnOnce(&mut Problems) -> T) -> T {
        read(&mut self.problems.borrow_mut())
    }

    pub(super) fn refer(&self, to: Referent, name: &Spanned<String>) {
        self.references.borrow_mut().push(Reference { to, name: name.value.clone(), span: name.span });
    }

    pub(super) fn references(&self) -> Vec<Reference> {
        self.references.borrow().clone()
    }

    pub(super) fn has_errors(&self) -> bool {
        self.problems.borrow().has_errors()
    }

    pub(super) fn into_list(self) -> Vec<Diagnostic> {
        self.problems.into_inner().into_list()
    }

    /// A mapping to be read key by key.
    pub(super) fn object<'s, 'n>(&'s self, node: &'n Node, what: &str) -> Option<Object<'s, 'n>> {
        let keys = Keys::open(node, what, CODES, &mut self.problems.borrow_mut())?;
        Some(Object { sheet: self, keys })
    }

    /// The entries of a map from name to body; names are checked for their form.
    pub(super) fn entries<'n>(
        &self,
        node: &'n Node,
        what: &str,
        form: NameForm,
    ) -> Vec<(&'n Spanned<String>, &'n Node)> {
        let entries = node.keyed(what, CODES, &mut self.problems.borrow_mut());
        entries.iter().map(|(name, body)| (name, body)).filter(|(name, _)| self.is_name(name, form)).collect()
    }

    fn is_name(&self, name: &Spanned<String>, form: NameForm) -> bool {
        let good = form.takes(&name.value);
        if !good {
            let message = format!("`{}` is not a name; {}", name.value, form.describe());
            self.error("S001", name.span, message);
        }
        good
    }
}

/// What a name may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameForm {
    /// Objects.
    Object,
    /// People: a full stop too.
    Person,
    /// Values and settings: `_` in place of `-`.
    Value,
}

impl NameForm {
    pub(super) fn takes(self, name: &str) -> bool {
        let extra = |byte: u8| match self {
            Self::Object => byte == b'-',
            Self::Person => byte == b'-' || byte == b'.',
            Self::Value => byte == b'_',
        };
        name.len() >= 2
            && name.len() <= 63
            && name.as_bytes()[0].is_ascii_lowercase()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || extra(byte))
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Object => "it begins with a letter and has 2 to 63 of a-z, 0-9 and -",
            Self::Person => "it begins with a letter and has 2 to 63 of a-z, 0-9, - and .",
            Self::Value => "it begins with a letter and has 2 to 63 of a-z, 0-9 and _",
        }
    }
}

/// A mapping that is read key by key. Setters leave their target alone when the key is absent or wrong.
pub(super) struct Object<'s, 'n> {
    pub(super) sheet: &'s Sheet,
    pub(super) keys: Keys<'n>,
}

impl<'s, 'n> Object<'s, 'n> {
    pub(super) fn get(&self, key: &'static str) -> Option<&'n Node> {
        self.keys.get(key)
    }

    pub(super) fn span(&self) -> Span {
        self.keys.span()
    }

    pub(super) fn require(&self, key: &'static str) -> Option<&'n Node> {
        self.sheet.with_problems(|problems| self.keys.require(key, problems))
    }

    pub(super) fn refuse(&self, keys: &[&'static str]) {
        self.sheet.with_problems(|problems| self.keys.refuse(keys, problems));
    }

    /// Reports keys that nobody asked for.
    pub(super) fn finish(&self) {
        self.sheet.with_problems(|problems| self.keys.finish(problems));
    }

    pub(super) fn object(&self, key: &'static str) -> Option<Object<'s, 'n>> {
        self.sheet.object(self.get(key)?, &format!("`{key}`"))
    }

    pub(super) fn entries(&self, key: &'static str, form: NameForm) -> Vec<(&'n Spanned<String>, &'n Node)> {
        self.get(key).map(|node| self.sheet.entries(node, &format!("`{key}`"), form)).unwrap_or_default()
    }

    pub(super) fn text(&self, key: &'static str) -> Option<Spanned<String>> {
        self.sheet.with_problems(|problems| self.keys.text(key, problems))
    }

    pub(super) fn require_text(&self, key: &'static str) -> Option<Spanned<String>> {
        self.sheet.with_problems(|problems| self.keys.require_text(key, problems))
    }

    pub(super) fn set_text(&self, key: &'static str, target: &mut String) {
        if let Some(text) = self.text(key) {
            *target = text.value;
        }
    }

    pub(super) fn texts(&self, key: &'static str) -> Vec<Spanned<String>> {
        self.sheet.with_problems(|problems| self.keys.texts(key, problems))
    }

    pub(super) fn set_texts(&self, key: &'static str, target: &mut Vec<String>) {
        if self.get(key).is_some() {
            *target = self.texts(key).into_iter().map(|text| text.value).collect();
        }
    }

    pub(super) fn set_flag(&self, key: &'static str, target: &mut bool) {
        if let Some(flag) = self.sheet.with_problems(|problems| self.keys.bool(key, problems)) {
            *target = flag;
        }
    }

    pub(super) fn number(&self, key: &'static str, least: i64, most: i64) -> Option<i64> {
        let node = self.get(key)?;
        let number = self.sheet.with_problems(|problems| node.int(CODES, problems))?;
        if (least..=most).contains(&number) {
            return Some(number);
        }
        self.sheet.error("S001", node.span, format!("`{number}` is not between {least} and {most}"));
        None
    }

    pub(super) fn set_number<T: TryFrom<i64>>(
        &self,
        key: &'static str,
        least: i64,
        most: i64,
        target: &mut T,
    ) {
        if let Some(number) = self.number(key, least, most).and_then(|number| T::try_from(number).ok()) {
            *target = number;
        }
    }

    pub(super) fn set_duration(&self, key: &'static str, target: &mut Duration) {
        if let Some(found) = self.get(key).and_then(|node| duration(self.sheet, node)) {
            *target = found;
        }
    }

    pub(super) fn require_duration(&self, key: &'static str) -> Option<Duration> {
        duration(self.sheet, self.require(key)?)
    }

    pub(super) fn set_size(&self, key: &'static str, most: usize, target: &mut usize) {
        let Some(node) = self.get(key) else { return };
        match node.as_text().and_then(size_of) {
            Some(size) if size > 0 && size <= most => *target = size,
            Some(_) => {
                self.sheet.error("S001", node.span, format!("the largest size here is {} MiB", most >> 20))
            }
            None => {
                let shown = node.as_text().unwrap_or(node.describe());
                let message = format!("`{shown}` is not a size; write 500B, 64KiB, 8MiB or 1GiB");
                self.sheet.error("S001", node.span, message);
            }
        }
    }

    pub(super) fn address(&self, key: &'static str) -> Option<Address> {
        let node = self.get(key)?;
        let text = node.as_text().unwrap_or(node.describe());
        let address = text.parse().ok();
        if address.is_none() {
            let message = format!("`{text}` is not an address; write host:port, for example 127.0.0.1:6661");
            self.sheet.error("S001", node.span, message);
        }
        address
    }

    pub(super) fn secret(&self, key: &'static str) -> Option<Secret> {
        let node = self.get(key)?;
        match node.as_text().and_then(|text| text.split_once(':')) {
            Some(("file", path)) if !path.is_empty() => return Some(Secret::File(path.to_owned())),
            Some(("env", name)) if !name.is_empty() => return Some(Secret::Env(name.to_owned())),
            _ => {}
        }
        let message = "a secret is never written here; refer to it with file:/path or env:NAME";
        self.sheet.error("S001", node.span, message);
        None
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        self.choice_but(key, words, &[])
    }

    /// One of some words, where others are known but not built yet.
    pub(super) fn choice_but<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
        later: &[&'static str],
    ) -> Option<T> {
        choice(self.sheet, self.get(key)?, words, later)
    }

    pub(super) fn set_choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)], target: &mut T) {
        if let Some(found) = self.choice(key, words) {
            *target = found;
        }
    }

    pub(super) fn pattern(&self, key: &'static str) -> Option<Pattern> {
        let text = self.text(key)?;
        let star = text.value.find('*');
        if star.is_some_and(|at| at + 1 != text.value.len()) {
            self.sheet.error(
                "S001",
                text.span,
                format!("`{}`: a pattern has one `*`, at its end", text.value),
            );
            return None;
        }
        Some(Pattern::new(&text.value))
    }

    /// A name that must be the name of something.
    pub(super) fn reference(&self, key: &'static str, to: Referent) -> Option<String> {
        let name = self.text(key)?;
        self.sheet.refer(to, &name);
        Some(name.value)
    }

    pub(super) fn references(&self, key: &'static str, to: Referent) -> Vec<String> {
        let names = self.texts(key);
        names.iter().for_each(|name| self.sheet.refer(to, name));
        names.into_iter().map(|name| name.value).collect()
    }

    pub(super) fn peers(&self, key: &'static str) -> Vec<PeerRange> {
        self.texts(key).iter().filter_map(|text| peer(self.sheet, text)).collect()
    }
}

/// An address or a range of them.
pub(super) fn peer(sheet: &Sheet, text: &Spanned<String>) -> Option<PeerRange> {
    let found = text.value.parse().ok();
    if found.is_none() {
        let message = format!("`{}` is neither an address nor a range like 10.20.0.0/16", text.value);
        sheet.error("S001", text.span, message);
    }
    found
}

/// One of some words, where others are known but not built yet.
pub(super) fn choice<T: Copy>(
    sheet: &Sheet,
    node: &Node,
    words: &[(&'static str, T)],
    later: &[&'static str],
) -> Option<T> {
    let Some(text) = node.as_text() else {
        sheet.error("S001", node.span, format!("one word is wanted here, not {}", node.describe()));
        return None;
    };
    if let Some((_, found)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*found);
    }
    if later.contains(&text) {
        sheet.error(CODES.unsupported, node.span, format!("`{text}` is not supported yet"));
        return None;
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let help =
        did_you_mean(text, known.iter().copied()).unwrap_or_else(|| format!("one of: {}", known.join(", ")));
    sheet.error_help("S003", node.span, format!("unknown word `{text}`"), Some(help));
    None
}

/// A duration: digits and one of `ms s m h d y`.
pub(super) fn duration(sheet: &Sheet, node: &Node) -> Option<Duration> {
    let text = match &node.kind {
        Kind::Scalar { text, .. } => text.as_str(),
        _ => node.describe(),
    };
    let found = duration_of(text);
    if found.is_none() {
        let message = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("`{text}` has no unit; write a duration like 500ms, 30s, 5m, 8h, 7d, 10y")
        } else {
            format!("`{text}` is not a duration; write one like 500ms, 30s, 5m, 8h, 7d, 10y")
        };
        sheet.error("S001", node.span, message);
    }
    found
}

fn duration_of(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "y" => 365 * 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(milliseconds)?))
}

fn size_of(text: &str) -> Option<usize> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_their_units() {
        assert_eq!(duration_of("10y"), Some(Duration::from_secs(3_650 * 86_400)));
        assert_eq!(duration_of("500ms"), Some(Duration::from_millis(500)));
        assert_eq!((duration_of("30"), duration_of("5 m"), duration_of("1w")), (None, None, None));
        assert_eq!((size_of("8MiB"), size_of("7"), size_of("7MB")), (Some(8 << 20), None, None));
    }

    #[test]
    fn names_have_a_form() {
        assert!(NameForm::Object.takes("lab-order") && !NameForm::Object.takes("Lab"));
        assert!(
            !NameForm::Object.takes("a") && !NameForm::Object.takes("1a") && !NameForm::Object.takes("a_b")
        );
        assert!(NameForm::Person.takes("m.okafor") && NameForm::Value.takes("order_entry"));
    }
}
