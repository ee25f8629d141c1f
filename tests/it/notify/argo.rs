//! Orders to a Kubernetes API of the test's own, which answers as the real one does for these calls: merge patches,
//! a status that only its subresource changes, `resourceVersion` as a precondition, `Status` objects for refusals.

use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use sloburn::canary::Decision;
use sloburn::notify::ArgoTarget;
use sloburn::rollout::Record;
use sloburn::spec::ArgoRollout;
use tokio_rustls::TlsAcceptor;

use super::story::Story;
use super::*;

const PATH: &str = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/pay";

/// What the API holds, and how it behaves.
struct Cluster {
    rollout: Value,
    version: u64,
    /// Somebody else changes the Rollout right after it was read, so often.
    meddlers: u32,
    /// Answers before it looks at anything.
    outages: VecDeque<u16>,
    token: String,
    /// `METHOD path body`
    calls: Vec<String>,
}

type Shared = Arc<Mutex<Cluster>>;

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return target.clone_from(patch) };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}

fn refusal(status: u16, reason: &str) -> (StatusCode, String) {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status});
    (StatusCode::from_u16(status).unwrap(), body.to_string())
}

impl Cluster {
    fn answer(&mut self, method: &Method, path: &str, headers: &HeaderMap, body: &str) -> (StatusCode, String) {
        self.calls.push(format!("{method} {path} {body}").trim_end().to_owned());
        if let Some(status) = self.outages.pop_front() {
            return refusal(status, "ServiceUnavailable");
        }
        if headers.get(AUTHORIZATION).is_none_or(|value| value != &format!("Bearer {}", self.token)) {
            return refusal(401, "Unauthorized");
        }
        let is_status = path.strip_prefix(PATH) == Some("/status");
        if path != PATH && !is_status {
            return refusal(404, "NotFound");
        }
        if *method == Method::GET {
            let read = self.rollout.to_string();
            if self.meddlers > 0 {
                self.meddlers -= 1;
                self.touch();
            }
            return (StatusCode::OK, read);
        }
        assert_eq!(headers[CONTENT_TYPE], "application/merge-patch+json");
        let patch: Value = serde_json::from_str(body).unwrap();
        let expected = &patch["metadata"]["resourceVersion"];
        if *expected != self.rollout["metadata"]["resourceVersion"] {
            return refusal(409, "Conflict");
        }
        let before = self.rollout.clone();
        merge(&mut self.rollout, &patch);
        // The subresource changes the status and nothing else, the resource everything but the status.
        let kept = if is_status { ["metadata", "spec"].as_slice() } else { &["status"] };
        for part in kept {
            self.rollout[*part] = before[*part].clone();
        }
        self.touch();
        (StatusCode::OK, self.rollout.to_string())
    }

    fn touch(&mut self) {
        self.version += 1;
        self.rollout["metadata"]["resourceVersion"] = json!(self.version.to_string());
    }
}

async fn handle(
    State(cluster): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    cluster.lock().unwrap().answer(&method, uri.path(), &headers, &body)
}

struct Kubernetes {
    cluster: Shared,
    target: ArgoTarget,
    folder: tempfile::TempDir,
}

impl Kubernetes {
    /// With one Rollout, in its second step of five, at which it waits.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (kubernetes, app) = Self::new(&format!("http://{}/", listener.local_addr().unwrap()));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        kubernetes
    }

    fn new(server: &str) -> (Self, Router) {
        let rollout = json!({
            "metadata": {"name": "pay", "namespace": "shop", "resourceVersion": "100"},
            "spec": {"strategy": {"canary": {"steps": [
                {"setWeight": 5}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}, {"setWeight": 100},
            ]}}},
            "status": {
                "currentPodHash": "new", "stableRS": "old", "currentStepIndex": 1,
                "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-11-01T00:00:00Z"}],
            },
        });
        let cluster = Cluster {
            rollout,
            version: 100,
            meddlers: 0,
            outages: VecDeque::new(),
            token: "first".to_owned(),
            calls: Vec::new(),
        };
        let cluster = Arc::new(Mutex::new(cluster));
        let app = Router::new().fallback(handle).with_state(Arc::clone(&cluster));
        let server = server.parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, "first\n").unwrap();
        let target = ArgoTarget { server, token_file: Some(token_file), ca_file: None, timeout: Span::seconds(10) };
        (Self { cluster, target, folder }, app)
    }

    fn notifier(&self) -> Notifier {
        let receivers = Receivers { argos: vec![self.target.clone()], ..Receivers::default() };
        let notifier = Notifier::start(&settings(), receivers, None).unwrap();
        let rollout = ArgoRollout { namespace: "shop".to_owned(), name: "pay".to_owned() };
        notifier.set_rollouts([("pay".to_owned(), rollout)].into());
        notifier
    }

    /// Has a notifier carry out what follows from these records, to the end.
    async fn carry_out(&self, records: &[Record]) -> ReceiverStatus {
        let notifier = self.notifier();
        notifier.record(records);
        finished(&notifier).await.remove(0)
    }

    fn rollout(&self) -> Value {
        self.cluster.lock().unwrap().rollout.clone()
    }

    fn calls(&self) -> String {
        std::mem::take(&mut self.cluster.lock().unwrap().calls).join("\n")
    }
}

#[tokio::test]
async fn a_rollback_aborts_and_is_idempotent() {
    let kubernetes = Kubernetes::start().await;
    let status = kubernetes.carry_out(&Story::of("2").rolled_back()).await;
    assert_eq!((status.sent, status.failed, status.kind.as_str()), (2, 0, "argo"), "the verdict and the end");
    let expected = format!(
        "GET {PATH}\n\
         PATCH {PATH}/status {{\"metadata\":{{\"resourceVersion\":\"100\"}},\"status\":{{\"abort\":true}}}}\n\
         GET {PATH}"
    );
    assert_eq!(kubernetes.calls(), expected);
    kubernetes.carry_out(&Story::of("2").rolled_back()).await;
    assert_eq!(kubernetes.calls(), format!("GET {PATH}\nGET {PATH}"), "it is aborted already");
}

#[tokio::test]
async fn what_somebody_changed_meanwhile_is_read_again() {
    let kubernetes = Kubernetes::start().await;
    kubernetes.cluster.lock().unwrap().meddlers = 2;
    let mut story = Story::of("2");
    let status = kubernetes.carry_out(&[story.started(), story.verdict(Decision::Rollback, "5%")]).await;
    assert_eq!((status.sent, status.failed), (1, 0), "{:?}", status.last_error);
    let abort = |version: u32| {
        format!(
            "PATCH {PATH}/status {{\"metadata\":{{\"resourceVersion\":\"{version}\"}},\"status\":{{\"abort\":true}}}}"
        )
    };
    let get = format!("GET {PATH}");
    assert_eq!(
        kubernetes.calls(),
        [&get, &abort(100), &get, &abort(101), &get, &abort(102)].map(String::as_str).join("\n")
    );
    assert_eq!(kubernetes.rollout()["status"]["abort"], true);
}

#[tokio::test]
async fn promotions_pauses_and_the_last_step() {
    let kubernetes = Kubernetes::start().await;
    let mut story = Story::of("2");
    let notifier = kubernetes.notifier();
    let rollout = |change: Value| {
        let mut cluster = kubernetes.cluster.lock().unwrap();
        merge(&mut cluster.rollout, &change);
        cluster.touch();
    };
    let mut log = Vec::new();
    let mut tell = async |what: &str, record: Record| {
        let sent = notifier.status()[0].sent;
        notifier.record(&[record]);
        let done = async {
            while notifier.status()[0].sent == sent {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, done).await.expect("not carried out");
        let calls = kubernetes.calls();
        // An id is 64 digits; which ones is told elsewhere.
        let calls = calls.replace(&sloburn::canary::Verdict::key(&["pay", "2", "5%", "promote"]), "ID");
        let calls = calls.replace(&sloburn::canary::Verdict::key(&["pay", "2", "50%", "pause"]), "ID");
        log.push(format!("{what}\n{calls}"));
    };
    notifier.record(&[story.started()]);
    tell("promote", story.verdict(Decision::Promote, "5%")).await;
    rollout(json!({"status": {"currentStepIndex": 3, "pauseConditions": [{"reason": "CanaryPauseStep"}]}}));
    tell("pause", story.verdict(Decision::Pause, "50%")).await;
    tell("go on", story.verdict(Decision::Continue, "50%")).await;
    tell("promote the last step", story.verdict(Decision::Promote, "50%")).await;
    insta::assert_snapshot!("argo_requests", log.join("\n"));
    assert_eq!(finished(&notifier).await[0].failed, 0);
    assert_eq!(kubernetes.rollout()["status"]["promoteFull"], true);
}

#[tokio::test]
async fn a_rollout_that_is_not_there_is_a_dead_letter() {
    let kubernetes = Kubernetes::start().await;
    let notifier = kubernetes.notifier();
    let rollout = ArgoRollout { namespace: "shop".to_owned(), name: "pya".to_owned() };
    notifier.set_rollouts([("pay".to_owned(), rollout)].into());
    let mut story = Story::of("2");
    notifier.record(&[story.started(), story.verdict(Decision::Rollback, "5%")]);
    let status = &finished(&notifier).await[0];
    assert_eq!((status.dead_letters, status.disabled), (1, false));
    let reason = &status.last_error.as_ref().unwrap().1;
    assert!(reason.ends_with("there is no Rollout shop/pya: see canary.argo in the service's spec"), "{reason}");
}

#[tokio::test]
async fn a_token_is_read_anew_and_a_refused_one_tried_again() {
    let kubernetes = Kubernetes::start().await;
    kubernetes.cluster.lock().unwrap().token = "second".to_owned();
    let notifier = kubernetes.notifier();
    let mut story = Story::of("2");
    notifier.record(&[story.started(), story.verdict(Decision::Rollback, "5%")]);
    each_has_failed(&notifier).await;
    let reason = notifier.status()[0].last_error.clone().unwrap().1;
    assert!(reason.starts_with("status 401") && reason.ends_with("is the token one of this cluster?"), "{reason}");
    std::fs::write(kubernetes.folder.path().join("token"), "second").unwrap();
    assert_eq!(finished(&notifier).await[0].sent, 1);
    assert_eq!(kubernetes.rollout()["status"]["abort"], true);
}

#[tokio::test]
async fn a_newer_rollout_makes_orders_about_the_one_before_pointless() {
    let kubernetes = Kubernetes::start().await;
    kubernetes.cluster.lock().unwrap().outages = vec![503; 1_000].into();
    let settings = Settings { backoff: Backoff { first: Span::hours(1), limit: Span::hours(1) }, ..settings() };
    let receivers = Receivers { argos: vec![kubernetes.target.clone()], ..Receivers::default() };
    let notifier = Notifier::start(&settings, receivers, None).unwrap();
    let rollout = ArgoRollout { namespace: "shop".to_owned(), name: "pay".to_owned() };
    notifier.set_rollouts([("pay".to_owned(), rollout)].into());
    let (mut old, mut new) = (Story::of("2"), Story::of("3"));
    notifier.record(&[old.started(), old.verdict(Decision::Rollback, "5%")]);
    each_has_failed(&notifier).await;
    notifier.record(&[new.started()]);
    notifier.flush().await;
    assert_eq!((notifier.status()[0].queued, notifier.status()[0].dead_letters), (0, 1));
    kubernetes.cluster.lock().unwrap().outages.clear();
    notifier.record(&[new.held(true)]);
    assert_eq!(finished(&notifier).await[0].sent, 1);
    assert_eq!(kubernetes.rollout()["status"]["abort"], Value::Null, "the new version is not taken back");
    assert_eq!(kubernetes.rollout()["spec"]["paused"], true);
}

/// A certificate for the loopback interface that vouches for itself.
fn certificate() -> (String, TlsAcceptor) {
    install_tls_provider();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let chain = vec![certificate.der().clone()];
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private).unwrap();
    (certificate.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn the_clusters_own_authority_is_trusted_and_read_anew() {
    let ((pem, acceptor), (other, _)) = (certificate(), certificate());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut kubernetes, app) = Kubernetes::new(&format!("https://{}/", listener.local_addr().unwrap()));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = TowerToHyperService::new(app.clone());
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let file = kubernetes.folder.path().join("ca.crt");
    std::fs::write(&file, other).unwrap();
    kubernetes.target.ca_file = Some(file.clone());
    let notifier = kubernetes.notifier();
    let mut story = Story::of("2");
    notifier.record(&[story.started(), story.verdict(Decision::Rollback, "5%")]);
    each_has_failed(&notifier).await;
    assert_eq!(kubernetes.calls(), "", "the token is for this cluster alone");
    std::fs::write(&file, pem).unwrap();
    assert_eq!(finished(&notifier).await[0].sent, 1);
    assert_eq!(kubernetes.rollout()["status"]["abort"], true);
    kubernetes.target.ca_file = Some("/nowhere/ca.crt".into());
    let receivers = Receivers { argos: vec![kubernetes.target.clone()], ..Receivers::default() };
    let error = Notifier::start(&settings(), receivers, None).unwrap_err().to_string();
    assert!(error.contains("cannot read /nowhere/ca.crt"), "{error}");
}
