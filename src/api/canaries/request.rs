//! Who speaks, and what a body says.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::rejection::BytesRejection;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::api::ApiError;
use crate::api::canaries::BODY_LIMIT_BYTES;
use crate::rollout::TEXT_LIMIT_CHARS;

/// The user a request was let in as, where users are configured: an extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatedUser(pub String);

/// Who a request comes from, as far as the server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Speaker(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for Speaker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<AuthenticatedUser>().map(|user| user.0.clone())))
    }
}

impl Speaker {
    /// The name that is kept: the user's, whoever is named in the body; what the body says where there are no users.
    pub(super) fn actor(&self, said: Option<&str>) -> Option<String> {
        let said = said.map(line).filter(|said| !said.is_empty());
        match (&self.0, said) {
            (Some(user), Some(said)) if *user != said => Some(line(&format!("{user} (on behalf of {said})"))),
            (Some(user), _) => Some(user.clone()),
            (None, said) => said,
        }
    }
}

/// One line of text, cut where it is too long to be kept.
pub(super) fn line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.trim().chars().take(TEXT_LIMIT_CHARS).collect::<String>().trim_end().to_owned()
}

/// Reads a JSON object, whatever media type it is said to be: not every pipeline says one.
pub(super) fn parsed<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::TooLarge(format!("the body is over the limit of {BODY_LIMIT_BYTES} bytes"))
        }
        _ => ApiError::BadData(rejection.body_text()),
    })?;
    if body.is_empty() {
        return Err(ApiError::BadData("the body is empty: send a JSON object".to_owned()));
    }
    serde_json::from_slice(&body).map_err(|error| ApiError::BadData(format!("the body is not as expected: {error}")))
}

/// Takes JSON only when it is called that. A page elsewhere cannot have a browser send it with a user's password:
/// browsers ask before they send this media type to another site.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let hint = "send JSON with the header `Content-Type: application/json`";
    Err(ApiError::UnsupportedMedia(format!("the body has the media type {value:?}: {hint}")))
}

/// Keeps browsers away where pipelines need not name a media type. No pipeline has an origin.
pub(super) fn refuse_browsers(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(header::ORIGIN) {
        return Err(ApiError::Forbidden("this is for pipelines, not for browsers".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_cannot_pass_for_another() {
        let user = Speaker(Some("alice".to_owned()));
        assert_eq!(user.actor(None).as_deref(), Some("alice"));
        assert_eq!(user.actor(Some("alice")).as_deref(), Some("alice"));
        assert_eq!(user.actor(Some("bob")).as_deref(), Some("alice (on behalf of bob)"));
        assert_eq!(user.actor(Some(" ")).as_deref(), Some("alice"));
        assert_eq!(Speaker(None).actor(Some(" bob\n")).as_deref(), Some("bob"));
        assert_eq!(Speaker(None).actor(Some("\t")), None);
    }

    #[test]
    fn text_is_one_short_line() {
        assert_eq!(line(" a\r\nb\0"), "a  b");
        assert_eq!(line(&"é".repeat(2 * TEXT_LIMIT_CHARS)).chars().count(), TEXT_LIMIT_CHARS);
    }

    #[test]
    fn json_has_to_be_called_that() {
        let said = |value: &str| HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
        assert_eq!(require_json(&said("Application/JSON; charset=utf-8")), Ok(()));
        for wrong in ["text/plain", "application/jsonx", "text/plain; application/json"] {
            assert!(require_json(&said(wrong)).is_err(), "{wrong}");
        }
        assert!(require_json(&HeaderMap::new()).is_err());
    }
}
