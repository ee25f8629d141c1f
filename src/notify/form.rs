//! What the messages of one kind of receiver look like.

use std::sync::Arc;

use url::Url;

use super::argo::{self, Targets};
use super::notice::{Fingerprint, Notice};
use super::slack::{self, Links};
use super::telling::{Telling, What};
use super::webhook::Message;

/// Of receivers that get messages one by one.
#[derive(Debug)]
pub(super) enum Form {
    /// Standard Webhooks.
    Standard {
        /// For links.
        external_url: Url,
    },
    /// Slack's incoming webhooks.
    Slack(Links),
    /// Orders to Argo Rollouts.
    Argo(Arc<Targets>),
}

impl Form {
    /// The message that tells of an alert.
    pub(super) fn alert(&self, notice: &Notice) -> Option<Message> {
        match self {
            Self::Standard { .. } => Some(Message::of(notice)),
            Self::Slack(links) => Some(slack::alert(notice, links)),
            Self::Argo(_) => None,
        }
    }

    /// The message that tells of what happened to a rollout.
    pub(super) fn rollout(&self, telling: &Telling) -> Option<Message> {
        match self {
            Self::Standard { external_url } => Message::of_rollout(telling, external_url),
            Self::Slack(links) => slack::rollout(telling, links),
            Self::Argo(targets) => argo::message(telling, targets),
        }
    }

    /// What messages about a rollout are kept in order with.
    pub(super) fn lane(&self, telling: &Telling) -> Fingerprint {
        match self {
            Self::Standard { .. } | Self::Slack(_) => telling.lane(),
            Self::Argo(_) => telling.service_lane(),
        }
    }

    /// Whether what is told makes everything before it in its lane pointless.
    pub(super) fn supersedes(&self, telling: &Telling) -> bool {
        matches!(self, Self::Argo(_)) && telling.what == What::Started
    }
}
