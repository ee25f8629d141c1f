//! Basic authentication with bcrypt, as Prometheus' exporter-toolkit does it: on every path.
//!
//! Checking a hash takes tens of milliseconds by design. So one is checked at a time, off the network threads,
//! and the password that was last right for a user is remembered by a keyed digest. An unknown user costs as much
//! as a wrong password, so that the time taken does not tell names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::config::web::PasswordHash;

/// What follows the cost in the hash unknown users are checked against. Nobody knows a password for it: it was
/// made up, so that there is none to be remembered and answered quicker.
const NOBODYS_HASH: &str = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpA/VcEd00UAV/LDeSi";

/// Who may use the server.
#[derive(Debug)]
pub(super) struct Users {
    users: BTreeMap<String, Arc<User>>,
    nobody: Arc<User>,
}

struct User {
    hash: String,
    /// A digest of the password that was last found right.
    right: Mutex<Option<[u8; 32]>>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User")
    }
}

/// Whether a request is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// As there are no users.
    Everybody,
    /// As this user.
    User(String),
    /// Not.
    Refused,
}

/// Bounds the checks that run at once.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// What a request says of its sender.
struct Credentials {
    user: String,
    password: SecretSlice<u8>,
}

impl Credentials {
    /// From `Authorization: Basic base64(user:password)`.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::AUTHORIZATION)?.as_bytes();
        let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return None;
        }
        let mut decoded = STANDARD.decode(encoded).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let password = decoded.split_off(colon + 1);
        decoded.truncate(colon);
        // A name that is not Unicode is nobody's.
        Some(Self { user: String::from_utf8(decoded).unwrap_or_default(), password: password.into() })
    }
}

impl User {
    fn new(hash: &str) -> Arc<Self> {
        Arc::new(Self { hash: hash.to_owned(), right: Mutex::new(None) })
    }

    /// Keyed by the hash, whose salt nobody else has.
    fn digest(&self, password: &SecretSlice<u8>) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.hash.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(password.expose_secret());
        mac
    }

    fn remembers(&self, password: &SecretSlice<u8>) -> bool {
        let right = *self.right.lock().unwrap_or_else(PoisonError::into_inner);
        // Compares in constant time.
        right.is_some_and(|right| self.digest(password).verify_slice(&right).is_ok())
    }

    fn check(&self, password: &SecretSlice<u8>) -> bool {
        // The hash has been read before: it is well-formed.
        let right = bcrypt::verify(password.expose_secret(), &self.hash).unwrap_or(false);
        if right {
            let digest = self.digest(password).finalize().into_bytes().into();
            *self.right.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        }
        right
    }
}

impl Users {
    pub(super) fn new(hashes: &BTreeMap<String, PasswordHash>) -> Self {
        let cost = hashes.values().map(PasswordHash::cost).max().unwrap_or(bcrypt::DEFAULT_COST);
        Self {
            users: hashes.iter().map(|(name, hash)| (name.clone(), User::new(hash.expose()))).collect(),
            nobody: User::new(&format!("$2y${cost:02}${NOBODYS_HASH}")),
        }
    }

    /// Who the request comes from; everybody is let in when there are no users.
    pub(super) async fn admit(&self, headers: &HeaderMap, turns: &Turns) -> Admission {
        if self.users.is_empty() {
            return Admission::Everybody;
        }
        let Some(Credentials { user, password }) = Credentials::of(headers) else { return Admission::Refused };
        let known = self.users.get(&user);
        let is_right = Self::is_right(known.unwrap_or(&self.nobody), password, turns).await;
        if is_right && known.is_some() { Admission::User(user) } else { Admission::Refused }
    }

    async fn is_right(user: &Arc<User>, password: SecretSlice<u8>, turns: &Turns) -> bool {
        if user.remembers(&password) {
            return true;
        }
        let Ok(turn) = Arc::clone(&turns.0).acquire_owned().await else { return false };
        // A sender's first requests come together; one check is enough for all.
        if user.remembers(&password) {
            return true;
        }
        let user = Arc::clone(user);
        let checked = tokio::task::spawn_blocking(move || {
            let right = user.check(&password);
            // Held to the end, also when the client has hung up meanwhile.
            drop(turn);
            right
        });
        checked.await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::web::WebConfig;
    use crate::spec::Source;

    fn users() -> Users {
        let hash = bcrypt::hash("open sesame", 4).unwrap();
        let text = format!("basic_auth_users: {{alice: {hash}}}");
        Users::new(&WebConfig::parse(&Source::new("web.yml", text)).0.unwrap().users)
    }

    /// As somebody or everybody.
    async fn allow(users: &Users, headers: &HeaderMap, turns: &Turns) -> bool {
        users.admit(headers, turns).await != Admission::Refused
    }

    fn basic(text: &str) -> HeaderMap {
        let value = format!("bAsIc {}", STANDARD.encode(text));
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[tokio::test]
    async fn only_users_with_their_password_are_let_in() {
        let (users, turns) = (users(), Turns::default());
        for (text, expected) in [
            ("alice:open sesame", true),
            ("alice:open sesame", true),
            ("alice:open sesame2", false),
            ("alice:", false),
            ("alice", false),
            (":open sesame", false),
            ("Alice:open sesame", false),
            ("bob:open sesame", false),
        ] {
            assert_eq!(allow(&users, &basic(text), &turns).await, expected, "{text}");
        }
        assert!(!allow(&users, &HeaderMap::new(), &turns).await);
        assert_eq!(users.admit(&basic("alice:open sesame"), &turns).await, Admission::User("alice".to_owned()));
        for value in ["Basic", "Basic ", "Basic !", "Bearer YWxpY2U6", "Digest YWxpY2U6b3BlbiBzZXNhbWU="] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert!(!allow(&users, &headers, &turns).await, "{value}");
        }
    }

    /// Without the memory the second request would wait for its turn, which never comes.
    #[tokio::test]
    async fn a_right_password_is_remembered_and_a_wrong_one_is_not() {
        let (users, turns) = (users(), Turns::default());
        assert!(allow(&users, &basic("alice:open sesame"), &turns).await);
        assert!(!allow(&users, &basic("alice:wrong"), &turns).await);
        turns.0.close();
        assert!(allow(&users, &basic("alice:open sesame"), &turns).await);
        assert!(!allow(&users, &basic("alice:wrong"), &turns).await);
        let remembered = users.nobody.right.lock().unwrap().is_some();
        assert!(!remembered && !users.users["alice"].remembers(&b"wrong".to_vec().into()));
    }

    #[tokio::test]
    async fn nobody_costs_as_much_as_somebody() {
        let users = users();
        let parts: bcrypt::HashParts = users.nobody.hash.parse().unwrap();
        assert_eq!(parts.get_cost(), 4);
        let turns = Turns::default();
        turns.0.close();
        assert!(!allow(&users, &basic("bob:x"), &turns).await);
    }

    #[tokio::test]
    async fn nobody_is_let_in_even_with_the_right_password() {
        let (mut users, turns) = (users(), Turns::default());
        users.nobody = User::new(&bcrypt::hash("guessed", 4).unwrap());
        for attempt in ["checked", "remembered"] {
            assert!(!allow(&users, &basic("bob:guessed"), &turns).await, "{attempt}");
        }
    }

    #[tokio::test]
    async fn everybody_is_let_in_where_there_are_no_users() {
        assert!(allow(&Users::new(&BTreeMap::new()), &HeaderMap::new(), &Turns::default()).await);
    }
}
