//! Remote write 2.0 from a real sender: Prometheus 3 scrapes an exporter of native histograms and created timestamps and
//! sends what it finds; every count is compared with what the exporter knows to have happened.

mod exporter;

use exporter::{Exporter, IDLE, Step};
use serde_json::json;
use sloburn::types::Span;

use crate::daemon::Daemon;
use crate::peers::programs::Peer;
use crate::process::{PATIENCE, until};

/// One service scraped as it is by default, where the native histogram replaces the classic one, and one with both.
const JOBS: [&str; 2] = ["native", "both"];

fn spec() -> String {
    let service = |job: &str| {
        format!(
            r#"
apiVersion: sloburn/v1
kind: Service
metadata: {{name: {job}}}
spec:
  slis:
    - name: errors
      events: {{bad: 'http_requests_total{{job="{job}",code="500"}}', total: 'http_requests_total{{job="{job}"}}'}}
    - name: latency
      latency: {{histogram: 'http_request_duration_seconds{{job="{job}"}}', threshold: 250ms}}
  slos:
    - {{name: availability, sli: errors, objective: 99}}
    - {{name: fast, sli: latency, objective: 99}}
---"#
        )
    };
    JOBS.map(service).concat()
}

fn config(exporter: &Exporter, daemon: &Daemon) -> String {
    let job = |name: &str| {
        let both = name == "both";
        format!(
            "  - job_name: {name}\n    metrics_path: /{name}\n    always_scrape_classic_histograms: {both}\n    \
             static_configs: [{{targets: ['{}']}}]\n",
            exporter.address
        )
    };
    format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n{}remote_write:\n  - url: {}api/v1/write\n    \
         protobuf_message: io.prometheus.write.v2.Request\n    send_native_histograms: true\n    \
         queue_config: {{batch_send_deadline: 1s}}\n    metadata_config: {{send: false}}\n",
        JOBS.map(job).concat(),
        daemon.url
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus 3.5 or newer: PROMETHEUS3 is the path of the binary"]
#[expect(clippy::print_stdout, reason = "says that nothing was tested")]
async fn every_event_of_a_sender_of_remote_write_2_0_counts_once() {
    let Some(binary) = std::env::var_os("PROMETHEUS3") else {
        println!("skipped: PROMETHEUS3 is not the path of a Prometheus 3");
        return;
    };
    let exporter = Exporter::start(&JOBS).await;
    let daemon = Daemon::start(&spec(), &[]);
    let features = ["--enable-feature=native-histograms,created-timestamp-zero-ingestion"];
    let prometheus = Peer::prometheus_at(&binary, &features, &config(&exporter, &daemon), "groups: []\n");
    for job in JOBS {
        for slo in ["availability", "fast"] {
            until(&format!("a first sample of {job}/{slo}"), PATIENCE, async || {
                let slo = daemon.slo(&format!("{job}/{slo}")).await;
                if slo["lastSample"].is_null() { Err(slo.to_string()) } else { Ok(()) }
            })
            .await;
        }
    }
    // The first errors, a new process that has done more than the one before when it is first scraped, and one that
    // has done less.
    for (step, restart) in [
        (Step { good: 90, bad: 7, slow: 3 }, None),
        (Step { good: 11, bad: 1, slow: 2 }, Some(Step { good: 20_000, bad: 500, slow: 900 })),
        (Step { good: 8, bad: 0, slow: 1 }, Some(Step { good: 5, bad: 2, slow: 1 })),
        (IDLE, None),
    ] {
        for job in JOBS {
            exporter.set(job, step, restart);
        }
        until("four scrapes of each", Span::minutes(1), async || {
            let scrapes = JOBS.map(|job| exporter.scrapes(job));
            if scrapes.iter().all(|scrapes| *scrapes >= 4) { Ok(()) } else { Err(format!("{scrapes:?}")) }
        })
        .await;
    }
    for job in JOBS {
        let truth = exporter.watched(job);
        assert!(truth.good > 20_000 && truth.bad > 500, "{truth:?}");
        let total = truth.good + truth.bad;
        for (slo, bad) in [("availability", truth.bad), ("fast", truth.slow)] {
            let expected = (json!(bad), json!(total));
            until(&format!("{job}/{slo} to have counted {expected:?}"), PATIENCE, async || {
                let slo = daemon.slo(&format!("{job}/{slo}")).await;
                if (slo["bad"].clone(), slo["total"].clone()) == expected { Ok(()) } else { Err(slo.to_string()) }
            })
            .await;
        }
    }
    let sent = prometheus.own_metric("prometheus_remote_storage_histograms_total").await;
    assert!(sent > 20.0, "native histograms were sent: {sent}");
    assert_eq!(daemon.metric("sloburn_ingest_rejected_samples_total", &[]).await, 0.0);
    for what in ["samples", "histograms", "exemplars"] {
        for fate in ["failed", "dropped", "retried"] {
            let name = format!("prometheus_remote_storage_{what}_{fate}_total");
            assert_eq!(prometheus.own_metric(&name).await, 0.0, "{name}");
        }
    }
    let log = prometheus.log();
    let complaint = log.iter().find(|line| line.contains("level=ERROR") || line.contains("level=WARN"));
    assert_eq!(complaint, None);
}
