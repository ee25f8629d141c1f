//! Argo Rollouts: verdicts carried out on a service's Rollout, through the Kubernetes API.
//!
//! A Rollout is read, and what it takes to carry out the order is decided from what it says (`moves.rs`, without IO); then
//! it is patched (JSON merge patch, RFC 7386), on condition that nobody changed it meanwhile (`resourceVersion`). On 409
//! it is read again. Orders are idempotent: a Rollout that is where it should be is left alone.
//!
//! | told | on the Rollout |
//! |---|---|
//! | verdict `rollback`; end by a rollback or an abort | `status.abort: true` |
//! | verdict `promote` | the pause or analysis at hand ends; at the last step `status.promoteFull: true` |
//! | verdict `pause`, a person's pause | `spec.paused: true` |
//! | what follows a pause | `spec.paused: false`, if sloburn has set it |
//! | a person's full promotion | `status.promoteFull: true` |
//!
//! What an actor of the name `argo` said is not said back to it. A new rollout of a service makes undelivered orders
//! about the one before pointless; they are dropped.
//!
//! sloburn needs `get` and `patch` on `rollouts`, and `patch` on `rollouts/status`. Its token is read anew for every
//! order, as it rotates; so is the certificate authority's file.

mod exchange;
mod moves;

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::telling::{Telling, What};
use super::webhook::{Event, Message};
use crate::rollout::Ending;
use crate::spec::ArgoRollout;

pub(super) use exchange::Api;

/// Of commands that come from Argo itself.
pub const ACTOR: &str = "argo";

/// The Rollout of each service that has one.
#[derive(Debug, Default)]
pub struct Targets(RwLock<BTreeMap<String, ArgoRollout>>);

impl Targets {
    /// From now on these.
    pub fn set(&self, targets: BTreeMap<String, ArgoRollout>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    fn get(&self, service: &str) -> Option<ArgoRollout> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(service).cloned()
    }
}

/// What is to happen to a Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The stable version gets all traffic.
    Abort,
    /// The step at hand ends.
    Promote,
    /// All steps end.
    Finish,
    /// It stays where it is.
    Pause,
    /// It goes on, if sloburn has paused it.
    Resume,
}

/// An order, as it waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The Rollout.
    pub target: ArgoRollout,
    /// What is to happen to it.
    pub action: Action,
    /// The telling's.
    pub id: String,
}

/// The order that follows from what is told, if one does.
pub(super) fn message(telling: &Telling, targets: &Targets) -> Option<Message> {
    let by = telling.by();
    if by.is_some_and(|actor| actor.name == ACTOR) {
        return None;
    }
    let action = match telling.what {
        What::Rollback => Action::Abort,
        What::Promote if telling.is_last_step => Action::Finish,
        What::Promote => Action::Promote,
        // Who holds it has been heard, or is Argo.
        What::Pause if telling.is_held => return None,
        What::Pause | What::Paused => Action::Pause,
        What::GoesOn | What::Resumed => Action::Resume,
        What::Ended => match telling.outcome()? {
            Ending::RolledBack | Ending::Aborted => Action::Abort,
            // The checks have promoted the last step before.
            Ending::Promoted if by.is_some() => Action::Finish,
            Ending::Promoted | Ending::Superseded | Ending::Vanished => return None,
        },
        What::Started => return None,
    };
    let order = Order { target: targets.get(&telling.record.service)?, action, id: telling.id() };
    Some(Message {
        id: order.id.clone(),
        number: telling.number,
        fingerprint: telling.service_lane(),
        event: Event::of(telling.what).unwrap_or(Event::Resumed),
        // Never fails: texts only.
        body: serde_json::to_string(&order).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::Decision;
    use crate::notify::telling::Desk;
    use crate::notify::telling::tests::{Story, told};
    use crate::rollout::{Actor, Happened, Record};

    fn targets() -> Targets {
        let targets = Targets::default();
        let rollout = ArgoRollout { namespace: "shop".to_owned(), name: "pay".to_owned() };
        targets.set([("pay".to_owned(), rollout)].into());
        targets
    }

    fn action(desk: &mut Desk, record: &Record) -> Option<Action> {
        let message = message(&told(desk, record), &targets())?;
        Some(serde_json::from_str::<Order>(&message.body).unwrap().action)
    }

    #[test]
    fn what_is_told_becomes_an_order() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2"));
        let records = [
            story.started(),
            story.verdict(Decision::Promote, "5%"),
            story.verdict(Decision::Pause, "50%"),
            story.verdict(Decision::Continue, "50%"),
            story.held(true),
            story.held(false),
            story.verdict(Decision::Promote, "50%"),
            story.verdict(Decision::Rollback, "50%"),
            story.ended(Ending::RolledBack),
            story.ended(Ending::Superseded),
            story.ended(Ending::Promoted),
        ];
        let expected = [
            None,
            Some(Action::Promote),
            Some(Action::Pause),
            Some(Action::Resume),
            Some(Action::Pause),
            Some(Action::Resume),
            Some(Action::Finish),
            Some(Action::Abort),
            Some(Action::Abort),
            None,
            None,
        ];
        assert_eq!(records.map(|record| action(&mut desk, &record)), expected);
    }

    #[test]
    fn argo_is_not_told_what_it_said() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2"));
        let mut ended = |name: &str| {
            let by = Some(Actor { name: name.to_owned(), reason: String::new() });
            let record = story.record(Happened::Ended { outcome: Ending::Promoted, reason: String::new(), by });
            action(&mut desk, &record)
        };
        assert_eq!((ended("argo"), ended("kim")), (None, Some(Action::Finish)));
    }

    #[test]
    fn a_verdict_that_follows_a_persons_pause_orders_nothing_more() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2"));
        let records = [story.held(true), story.verdict(Decision::Pause, "5%")];
        assert_eq!(records.map(|record| action(&mut desk, &record)), [Some(Action::Pause), None]);
    }

    #[test]
    fn a_service_without_a_rollout_has_no_orders() {
        let mut story = Story::of("2");
        let telling = told(&mut Desk::default(), &story.verdict(Decision::Rollback, "5%"));
        assert_eq!(message(&telling, &Targets::default()), None);
    }
}
