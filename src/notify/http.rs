//! The way out: one HTTP client for each receiver, the policy on addresses, and one attempt.

use std::error::Error;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::reply::Reply;
use crate::clock;
use crate::types::Span;

/// At most this much of a response is read.
const RESPONSE_LIMIT_BYTES: usize = 64 * 1024;
/// At most this much of a response is quoted in the log and the status.
const EXCERPT_LIMIT_CHARS: usize = 200;

/// Which addresses alerts may be sent to. Loopback and private networks always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Not to link-local addresses (`169.254.0.0/16`, `fe80::/10`) nor to the other addresses cloud providers serve
    /// instance metadata on: whoever can set a receiver's URL or its DNS name could read credentials there.
    #[default]
    RefuseLinkLocal,
    /// To any address.
    AllowAll,
}

/// Metadata services outside the link-local range.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

impl AddressPolicy {
    /// Whether `address` may be connected to.
    pub fn allows(self, address: IpAddr) -> bool {
        if self == Self::AllowAll {
            return true;
        }
        match address.to_canonical() {
            IpAddr::V4(v4) => !v4.is_link_local() && !METADATA_V4.contains(&v4),
            IpAddr::V6(v6) => {
                let translated = match v6.segments() {
                    // NAT64 (RFC 6052): the last 32 bits are an IPv4 address.
                    [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                        Some(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)))
                    }
                    _ => None,
                };
                let behind = translated.is_none_or(|v4| self.allows(v4.into()));
                behind && !v6.is_unicast_link_local() && v6 != METADATA_V6
            }
        }
    }

    /// Whether the URL's host is a name, or an address that may be connected to. The client asks no resolver about
    /// addresses, so they are checked here.
    pub fn allows_host_of(self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Ipv4(v4)) => self.allows(v4.into()),
            Some(Host::Ipv6(v6)) => self.allows(v6.into()),
            Some(Host::Domain(_)) | None => true,
        }
    }
}

/// A name that resolves to nothing that may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("{name} resolves only to addresses that the address policy refuses")]
struct AddressRefused {
    name: String,
}

/// The system's resolver, without the addresses the policy refuses.
struct PolicyResolver(AddressPolicy);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let any = !found.is_empty();
            let allowed: Vec<SocketAddr> = found.into_iter().filter(|a| policy.allows(a.ip())).collect();
            if any && allowed.is_empty() {
                return Err(AddressRefused { name: name.as_str().to_owned() }.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Makes ring the process' TLS implementation. Call once, before any client is built; later calls change nothing.
pub fn install_tls_provider() {
    // An error means that one is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client for one receiver: no redirects, no proxy from the environment, one deadline over the whole exchange; of
/// certificate authorities these, if any are given, else the system's.
pub(super) fn client(
    url: &Url,
    timeout: Span,
    policy: AddressPolicy,
    authorities: Option<Vec<reqwest::Certificate>>,
) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder();
    let builder = match authorities {
        Some(authorities) => builder.tls_certs_only(authorities),
        None if url.scheme() == "https" => builder,
        // Plain HTTP must work in a container without root certificates.
        None => builder.tls_certs_only([]),
    };
    builder
        .user_agent(concat!("sloburn/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .timeout(timeout.to_std())
        .dns_resolver(PolicyResolver(policy))
        .build()
}

/// One attempt, ready to go.
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) bearer_token: Option<SecretString>,
    pub(super) body: String,
}

/// Posts JSON and says what the answer means.
pub(super) async fn post(client: &reqwest::Client, request: Request) -> Reply {
    let mut call = client
        .post(request.url)
        .headers(request.headers)
        .header(reqwest::header::CONTENT_TYPE, "application/json")
        .body(request.body);
    if let Some(token) = &request.bearer_token {
        call = call.bearer_auth(token.expose_secret());
    }
    let response = match call.send().await {
        Ok(response) => response,
        Err(error) => return Reply::unanswered(describe(error)),
    };
    let status = response.status().as_u16();
    let retry_after = retry_after(&response);
    let excerpt = read_excerpt(response).await;
    Reply::of_status(status, retry_after.as_deref(), &excerpt, clock::now())
}

/// The header of that name, if it is text.
pub(super) fn retry_after(response: &reqwest::Response) -> Option<String> {
    response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The whole body, which has to be within the limit.
pub(super) async fn read_body(mut response: reqwest::Response, limit_bytes: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        if body.len() + chunk.len() > limit_bytes {
            return Err(format!("an answer of more than {limit_bytes} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The head of the body on one line. Reads on to the limit, so that the connection can be used again; the status is
/// known already, so a body that breaks off changes nothing.
pub(super) async fn read_excerpt(mut response: reqwest::Response) -> String {
    let (mut head, mut read) = (Vec::new(), 0);
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if head.len() < EXCERPT_LIMIT_CHARS * 4 {
            head.extend_from_slice(&chunk);
        }
        if read >= RESPONSE_LIMIT_BYTES {
            break;
        }
    }
    let text = String::from_utf8_lossy(&head);
    text.trim().chars().take(EXCERPT_LIMIT_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The error and its causes, without the URL, which may hold credentials.
pub(super) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

/// The URL without user, password, query and fragment, any of which may be a credential.
pub(super) fn without_credentials(url: &Url) -> Url {
    let mut shown = url.clone();
    // These fail only on URLs that have no host and so no credentials.
    let _ = (shown.set_username(""), shown.set_password(None));
    shown.set_query(None);
    shown.set_fragment(None);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_metadata_addresses_are_refused() {
        for refused in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert!(!AddressPolicy::RefuseLinkLocal.allows(refused.parse().unwrap()), "{refused}");
            assert!(AddressPolicy::AllowAll.allows(refused.parse().unwrap()), "{refused}");
        }
        for allowed in
            ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd00::1", "8.8.8.8", "169.253.1.1", "64:ff9b::808:808"]
        {
            assert!(AddressPolicy::RefuseLinkLocal.allows(allowed.parse().unwrap()), "{allowed}");
        }
    }

    #[test]
    fn addresses_in_urls_are_refused_however_they_are_written() {
        for url in ["http://169.254.169.254/", "http://0xa9fea9fe/", "http://2852039166/", "http://[fe80::1]/"] {
            assert!(!AddressPolicy::default().allows_host_of(&url.parse().unwrap()), "{url}");
        }
        assert!(AddressPolicy::default().allows_host_of(&"http://localhost/".parse().unwrap()));
    }

    #[tokio::test]
    async fn names_are_checked_by_what_they_resolve_to() {
        let resolve = |name: &str, policy| PolicyResolver(policy).resolve(name.parse().unwrap());
        assert!(resolve("localhost", AddressPolicy::default()).await.is_ok());
        // A numeric name resolves to itself, so no DNS server is needed to try this.
        let refused = resolve("169.254.169.254", AddressPolicy::default()).await.err().unwrap();
        assert!(refused.to_string().contains("address policy"), "{refused}");
        assert!(resolve("169.254.169.254", AddressPolicy::AllowAll).await.is_ok());
    }

    #[test]
    fn shown_urls_hold_no_credentials() {
        let url = "https://user:pass@hooks.example/a?token=s3cret#x".parse().unwrap();
        assert_eq!(without_credentials(&url).as_str(), "https://hooks.example/a");
    }
}
