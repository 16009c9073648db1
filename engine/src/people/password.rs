//! Argon2id on the blocking pool, bounded: sign-ins in numbers must not take all memory and cores.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::Error;

/// How many passwords are computed at once.
const AT_ONCE: usize = 2;
/// Longer passwords are refused before they cost anything.
pub(super) const PASSWORD_BYTES_MAX: usize = 1024;

/// How much work one password costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// What the OWASP sheet asks for: 19 MiB, two passes.
    Full,
    /// Next to nothing; for tests.
    Test,
}

/// Hashes and checks passwords.
#[derive(Clone)]
pub struct Passwords {
    gate: Arc<Semaphore>,
    argon2: Argon2<'static>,
    /// A hash that nobody's password has: unknown names are checked against it, so that they cost the same time.
    nobody: Arc<str>,
}

impl Passwords {
    /// Prepares the hash for unknown names.
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness.
    pub fn new(strength: Strength) -> Result<Self, Error> {
        let params = match strength {
            Strength::Full => Params::DEFAULT,
            Strength::Test => Params::new(8, 1, 1, None).map_err(broken)?,
        };
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(Self {
            gate: Arc::new(Semaphore::new(AT_ONCE)),
            nobody: hash_of_nobody(argon2.params()).into(),
            argon2,
        })
    }

    /// The hash to keep for a password.
    ///
    /// # Errors
    ///
    /// When hashing fails or the program is stopping.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        let argon2 = self.argon2.clone();
        self.blocking(move || Ok(argon2.hash_password(password.as_bytes()).map_err(broken)?.to_string()))
            .await
    }

    /// Whether the password fits the stored hash. Without a hash it takes as long and is false.
    ///
    /// # Errors
    ///
    /// When the stored hash cannot be read or the program is stopping.
    pub async fn fits(&self, password: String, stored: Option<String>) -> Result<bool, Error> {
        let argon2 = self.argon2.clone();
        let nobody = Arc::clone(&self.nobody);
        self.blocking(move || {
            let known = stored.is_some();
            let text = stored.as_deref().unwrap_or(&nobody);
            let hash = PasswordHash::new(text).map_err(|error| Error::Password(error.to_string()))?;
            let fits = argon2.verify_password(password.as_bytes(), &hash).is_ok();
            Ok(fits && known)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _turn = self.gate.acquire().await.map_err(|_| Error::Stopping)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopping)?
    }
}

/// A stored form with a random salt and a random result: no password is known that gives it, and checking one against
/// it costs what every check costs.
fn hash_of_nobody(params: &Params) -> String {
    // Base 64 of 16 and of 32 bytes: the last character of each holds bits that must be zero.
    let random = |length: usize| -> String {
        (0..length).map(|_| char::from(b'a' + rand::random::<u8>() % 26)).collect()
    };
    format!(
        "$argon2id$v=19$m={},t={},p={}${}A${}A",
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        random(21),
        random(42)
    )
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Password(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let passwords = Passwords::new(Strength::Test).unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(passwords.fits("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.fits("wrong horse".into(), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn no_password_fits_where_none_is_stored() {
        let passwords = Passwords::new(Strength::Test).unwrap();
        assert!(!passwords.fits(String::new(), None).await.unwrap());
    }
}
