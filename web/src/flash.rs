//! One sentence that the next page says: what was just done. Travels in a cookie of its own, once.

use axum_extra::extract::cookie::{Cookie, SameSite};

use crate::word::Tone;

pub(crate) const COOKIE: &str = "orderly_said";

/// What the next page says at its top. Never holds patient data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flash {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

impl Flash {
    /// Something was done.
    pub(crate) fn done(text: impl Into<String>) -> Self {
        Self { tone: Tone::Good, text: text.into() }
    }

    /// Something was not done, or needs a look.
    pub(crate) fn warn(text: impl Into<String>) -> Self {
        Self { tone: Tone::Warn, text: text.into() }
    }

    /// Something to know.
    pub(crate) fn note(text: impl Into<String>) -> Self {
        Self { tone: Tone::Info, text: text.into() }
    }

    pub(crate) fn into_cookie(self, secure: bool) -> Cookie<'static> {
        let value = format!("{}.{}", self.tone.class(), hex(&self.text));
        Cookie::build((COOKIE, value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(secure)
            .build()
    }

    pub(crate) fn read(value: &str) -> Option<Self> {
        let (tone, text) = value.split_once('.')?;
        let tone = [Tone::Good, Tone::Warn, Tone::Info].into_iter().find(|known| known.class() == tone)?;
        let bytes: Option<Vec<u8>> = (0..text.len() / 2)
            .map(|at| text.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        let text = String::from_utf8(bytes?).ok()?;
        (text.len() <= 1000).then_some(Self { tone, text })
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_survives_the_cookie() {
        let said = Flash::done("Port “lab” holds; 3 messages wait.");
        let cookie = said.clone().into_cookie(true);
        assert_eq!(Flash::read(cookie.value()), Some(said));
    }

    #[test]
    fn a_spoilt_cookie_says_nothing() {
        assert_eq!(Flash::read("good.zz"), None);
        assert_eq!(Flash::read(""), None);
    }
}
