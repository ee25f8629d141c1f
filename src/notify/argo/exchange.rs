//! The requests of an order.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::Order;
use super::moves::{Move, Patch, next};
use crate::clock;
use crate::notify::reply::Reply;
use crate::notify::{AddressPolicy, ArgoTarget, StartError, http};
use crate::types::Span;

/// Requests of one order: two or three, and again after each conflict.
const REQUESTS_LIMIT_COUNT: usize = 12;
/// A Rollout is not larger; etcd holds no object of 2 MiB.
const ROLLOUT_LIMIT_BYTES: usize = 4 << 20;
/// Tokens and certificates are a few KiB.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// The way to a Kubernetes API.
#[derive(Debug)]
pub(in crate::notify) struct Api {
    target: ArgoTarget,
    addresses: AddressPolicy,
    /// With the bytes of the certificate authority's file it was made with.
    client: Mutex<(Option<Vec<u8>>, reqwest::Client)>,
}

/// What came of a request.
enum Answer {
    Object(Value),
    /// Somebody was there before.
    Conflict,
    End(Reply),
}

impl Api {
    /// # Errors
    /// When the certificate authority's file cannot be used.
    pub(in crate::notify) fn new(target: ArgoTarget, addresses: AddressPolicy) -> Result<Self, StartError> {
        let authority = target.ca_file.as_deref().map(read).transpose();
        let authority = authority.map_err(|reason| StartError::File { name: target.name(), reason })?;
        let client = client(&target.server, target.timeout, addresses, authority.as_deref());
        let client = client.map_err(|source| StartError::Client { name: target.name(), source })?;
        Ok(Self { target, addresses, client: Mutex::new((authority, client)) })
    }

    /// Carries out an order.
    pub(in crate::notify) async fn carry_out(self: &Arc<Self>, body: &str) -> Reply {
        let order = match serde_json::from_str::<Order>(body) {
            Ok(order) => order,
            Err(error) => return Reply::Refused { reason: format!("not an order: {error}") },
        };
        let api = Arc::clone(self);
        let prepared = tokio::task::spawn_blocking(move || api.prepare()).await;
        let (client, token) = match prepared {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(reason)) => return Reply::unanswered(reason),
            Err(error) => return Reply::unanswered(error.to_string()),
        };
        let ask = |patch: Option<Patch>| self.ask(&client, token.as_ref(), &order, patch);
        let mut answer = ask(None).await;
        for _ in 0..REQUESTS_LIMIT_COUNT {
            let rollout = match answer {
                Answer::Object(rollout) => rollout,
                Answer::Conflict => {
                    answer = ask(None).await;
                    continue;
                }
                Answer::End(reply) => return reply,
            };
            let name = &order.target;
            match next(&rollout, &order) {
                Move::Done => return Reply::Accepted,
                Move::Later(reason) => {
                    return Reply::unanswered(format!("Rollout {}/{}: {reason}", name.namespace, name.name));
                }
                Move::Refused(reason) => {
                    return Reply::Refused { reason: format!("Rollout {}/{}: {reason}", name.namespace, name.name) };
                }
                Move::Patch(patch) => {
                    let is_last = patch.is_last;
                    answer = ask(Some(patch)).await;
                    if is_last && matches!(answer, Answer::Object(_)) {
                        return Reply::Accepted;
                    }
                }
            }
        }
        Reply::unanswered("the Rollout changes faster than it can be patched".to_owned())
    }

    /// The files as they are now.
    fn prepare(&self) -> Result<(reqwest::Client, Option<SecretString>), String> {
        let text = |path: &PathBuf| {
            let bytes = read(path)?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{} is not text", path.display()))?;
            Ok::<_, String>(SecretString::from(text.trim().to_owned()))
        };
        let token = self.target.token_file.as_ref().map(text).transpose()?;
        let authority = self.target.ca_file.as_deref().map(read).transpose()?;
        let mut held = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != authority {
            let made = client(&self.target.server, self.target.timeout, self.addresses, authority.as_deref());
            *held = (authority, made.map_err(|error| error.to_string())?);
        }
        Ok((held.1.clone(), token))
    }

    async fn ask(
        &self,
        client: &reqwest::Client,
        token: Option<&SecretString>,
        order: &Order,
        patch: Option<Patch>,
    ) -> Answer {
        let is_status = patch.as_ref().is_some_and(|patch| patch.is_status);
        let url = address(&self.target.server, order, is_status, patch.is_some());
        let method = if patch.is_some() { Method::PATCH } else { Method::GET };
        let mut call = client.request(method, url).header(ACCEPT, "application/json");
        if let Some(token) = token {
            call = call.bearer_auth(token.expose_secret());
        }
        if let Some(patch) = patch {
            call = call.header(CONTENT_TYPE, "application/merge-patch+json").body(patch.body);
        }
        let response = match call.send().await {
            Ok(response) => response,
            Err(error) => return Answer::End(Reply::unanswered(http::describe(error))),
        };
        let (status, retry_after) = (response.status().as_u16(), http::retry_after(&response));
        if status == 409 {
            return Answer::Conflict;
        }
        if !(200..300).contains(&status) {
            let excerpt = http::read_excerpt(response).await;
            let reply = Reply::of_status(status, retry_after.as_deref(), &excerpt, clock::now());
            return Answer::End(explained(status, is_status, reply, order));
        }
        match http::read_body(response, ROLLOUT_LIMIT_BYTES).await {
            Ok(body) => match serde_json::from_slice(&body) {
                Ok(object) => Answer::Object(object),
                Err(error) => Answer::End(Reply::unanswered(format!("not a Rollout: {error}"))),
            },
            Err(reason) => Answer::End(Reply::unanswered(reason)),
        }
    }
}

/// What a status means here: a receiver of orders is never gone, and permissions are given while one waits.
fn explained(status: u16, is_status: bool, reply: Reply, order: &Order) -> Reply {
    let (Reply::Refused { reason } | Reply::Gone { reason } | Reply::Later { reason, .. }) = &reply else {
        return reply;
    };
    let (namespace, name) = (&order.target.namespace, &order.target.name);
    match status {
        401 => Reply::unanswered(format!("{reason}; is the token one of this cluster?")),
        403 => Reply::unanswered(format!(
            "{reason}; the service account needs get and patch on rollouts and patch on rollouts/status in {namespace}"
        )),
        404 if is_status => Reply::Refused {
            reason: format!(
                "{reason}; the Rollout {namespace}/{name} has no subresource status: Argo Rollouts is too old"
            ),
        },
        404 => Reply::Refused {
            reason: format!("{reason}; there is no Rollout {namespace}/{name}: see canary.argo in the service's spec"),
        },
        _ if matches!(reply, Reply::Gone { .. }) => Reply::Refused { reason: reason.clone() },
        _ => reply,
    }
}

fn address(server: &Url, order: &Order, is_status: bool, is_patch: bool) -> Url {
    let mut url = server.clone();
    // Only http and https are taken, and these have paths.
    if let Ok(mut path) = url.path_segments_mut() {
        let (namespace, name) = (order.target.namespace.as_str(), order.target.name.as_str());
        path.pop_if_empty().extend(["apis", "argoproj.io", "v1alpha1", "namespaces", namespace, "rollouts", name]);
        if is_status {
            path.push("status");
        }
    }
    url.set_query(is_patch.then_some("fieldManager=sloburn"));
    url
}

fn client(
    url: &Url,
    timeout: Span,
    addresses: AddressPolicy,
    authority: Option<&[u8]>,
) -> Result<reqwest::Client, reqwest::Error> {
    let certificates = authority.map(reqwest::Certificate::from_pem_bundle).transpose()?;
    http::client(url, timeout, addresses, certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error| format!("cannot read {}: {error}", path.display());
    let size = fs::metadata(path).map_err(cannot)?.len();
    if size > FILE_LIMIT_BYTES {
        return Err(format!("{} is larger than {FILE_LIMIT_BYTES} bytes", path.display()));
    }
    fs::read(path).map_err(cannot)
}
