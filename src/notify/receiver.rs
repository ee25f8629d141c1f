//! One receiver's state without its IO: what to send next, and what an answer changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alertmanager::{Due, Roster};
use super::form::Form;
use super::notice::{Fingerprint, Notice};
use super::outbox::Settled;
use super::pace::Pace;
use super::queue::{Entry, Next, Queue};
use super::reply::Reply;
use super::telling::Telling;
use super::webhook::Message;
use crate::types::{Span, Timestamp};

/// At most this many firing alerts are remembered for each webhook; of others the end is not told.
pub const OPEN_LIMIT_ALERTS: usize = 100_000;

/// Why an order about an earlier rollout is not carried out any more.
const SUPERSEDED: &str = "a newer rollout of the service has started";

/// What is on its way.
#[derive(Debug)]
pub(super) enum Job {
    Alerts(Vec<Due>),
    Message(Box<Entry>),
}

impl Job {
    fn len(&self) -> usize {
        match self {
            Self::Alerts(batch) => batch.len(),
            Self::Message(_) => 1,
        }
    }
}

/// What a receiver's task does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this, then [`Receiver::report`] the answer.
    Send(Job),
    /// Wait until then, or until something is accepted.
    Wait(Option<Timestamp>),
    /// End: draining, and nothing is left.
    Done,
}

/// What has happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
    pub(super) dead_letters: u64,
    pub(super) last_error: Option<(Timestamp, String)>,
    pub(super) last_success: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) enum Plan {
    Alertmanager(Roster),
    Webhook(Webhook),
}

/// A receiver of messages, one by one.
#[derive(Debug)]
pub(super) struct Webhook {
    form: Form,
    queue: Queue,
    /// Alerts whose beginning was queued and whose end was not.
    open: BTreeMap<Fingerprint, Arc<Notice>>,
    /// By lane, the number up to which messages are pointless.
    superseded: BTreeMap<Fingerprint, u64>,
    send_resolved: bool,
    /// A message older than this goes to the dead letters.
    give_up_after: Span,
}

impl Webhook {
    pub(super) fn new(form: Form, queue: Queue, send_resolved: bool, give_up_after: Span) -> Self {
        Self { form, queue, open: BTreeMap::new(), superseded: BTreeMap::new(), send_resolved, give_up_after }
    }

    fn is_superseded(&self, entry: &Entry) -> bool {
        let until = self.superseded.get(&entry.message.fingerprint);
        until.is_some_and(|until| entry.message.number < *until)
    }

    /// Remembers a firing alert; false if it is remembered already.
    fn open(&mut self, notice: &Arc<Notice>) -> bool {
        let known = self.open.get(&notice.fingerprint);
        if known.is_some_and(|open| open.starts_at == notice.starts_at) {
            return false;
        }
        if known.is_some() || self.open.len() < OPEN_LIMIT_ALERTS {
            self.open.insert(notice.fingerprint, Arc::clone(notice));
        }
        true
    }

    /// The message that `notice` makes, if it makes one.
    fn message(&mut self, notice: &Arc<Notice>) -> Option<Message> {
        if notice.resolved_at.is_none() {
            return self.open(notice).then(|| self.form.alert(notice)).flatten();
        }
        let firing = self.open.remove(&notice.fingerprint)?;
        let end = || self.form.alert(&(**notice).clone().under_labels_of(&firing));
        self.send_resolved.then(end).flatten()
    }
}

/// A receiver. Time is a steady clock's, except where it is called the wall's.
#[derive(Debug)]
pub(super) struct Receiver {
    name: String,
    plan: Plan,
    pace: Pace,
    tally: Tally,
    in_flight: usize,
    disabled: bool,
    draining: bool,
    /// Notices that are done with, until somebody asks.
    settled: Vec<Settled>,
}

impl Receiver {
    pub(super) fn new(name: String, plan: Plan, pace: Pace) -> Self {
        Self {
            name,
            plan,
            pace,
            tally: Tally::default(),
            in_flight: 0,
            disabled: false,
            draining: false,
            settled: Vec::new(),
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn disabled(&self) -> bool {
        self.disabled
    }

    /// Alerts or messages not yet taken or given up.
    pub(super) fn backlog(&self) -> usize {
        match &self.plan {
            Plan::Alertmanager(roster) => roster.unsettled(),
            Plan::Webhook(webhook) => webhook.queue.len() + self.in_flight,
        }
    }

    /// Takes in a transition.
    pub(super) fn accept(&mut self, notice: &Arc<Notice>, now: Timestamp) {
        if self.disabled {
            self.tally.dropped += 1;
            self.settle(notice.fingerprint, notice.number);
            return;
        }
        match &mut self.plan {
            Plan::Alertmanager(roster) => {
                if roster.put(notice, now) {
                    self.count_dropped();
                }
            }
            Plan::Webhook(webhook) => {
                let message = webhook.message(notice);
                self.queue(message, notice.fingerprint, notice.number, now);
            }
        }
    }

    /// Takes in a notice that was accepted before a restart and not delivered.
    pub(super) fn repeat(&mut self, notice: &Arc<Notice>, now: Timestamp) {
        match &mut self.plan {
            Plan::Webhook(webhook) => {
                if notice.resolved_at.is_none() {
                    webhook.open(notice);
                }
                let message = webhook.form.alert(notice);
                self.queue(message, notice.fingerprint, notice.number, now);
            }
            Plan::Alertmanager(_) => self.accept(notice, now),
        }
    }

    /// Takes in what happened to a rollout, or takes it up again after a restart. Alertmanagers hear of it by alerts.
    pub(super) fn accept_rollout(&mut self, telling: &Telling, now: Timestamp) {
        let Plan::Webhook(webhook) = &mut self.plan else { return };
        let lane = webhook.form.lane(telling);
        let message = webhook.form.rollout(telling);
        let pointless = if webhook.form.supersedes(telling) {
            webhook.superseded.insert(lane, telling.number);
            webhook.queue.take_lane(lane)
        } else {
            Vec::new()
        };
        for entry in pointless {
            self.bury(&entry, SUPERSEDED);
        }
        if self.disabled && message.is_some() {
            self.tally.dropped += 1;
            return self.settle(lane, telling.number);
        }
        self.queue(message, lane, telling.number, now);
    }

    /// Takes in an alert about a rollout, which is for Alertmanagers alone.
    pub(super) fn accept_rollout_alert(&mut self, notice: &Arc<Notice>, now: Timestamp) {
        if let Plan::Alertmanager(_) = self.plan {
            self.accept(notice, now);
        }
    }

    /// Queues a message; without one there is nothing to do about the notice of this number.
    fn queue(&mut self, message: Option<Message>, lane: Fingerprint, number: u64, now: Timestamp) {
        let Plan::Webhook(webhook) = &mut self.plan else { return };
        match message {
            None => self.settle(lane, number),
            Some(message) => {
                let dropped = webhook.queue.push(message, now);
                self.drop_message(dropped);
            }
        }
    }

    fn settle(&mut self, fingerprint: Fingerprint, number: u64) {
        // Without an outbox there is nothing to cross off.
        if number > 0 {
            self.settled.push(Settled { fingerprint, number });
        }
    }

    /// Notices that are done with since this was last asked.
    pub(super) fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// Takes in an alert that has been firing since before this receiver existed: Alertmanagers expect to hear of it
    /// again, webhooks have been told.
    pub(super) fn resume(&mut self, notice: &Arc<Notice>, now: Timestamp) {
        match &mut self.plan {
            Plan::Webhook(webhook) if notice.resolved_at.is_none() => drop(webhook.open(notice)),
            Plan::Webhook(_) => {}
            Plan::Alertmanager(_) => self.accept(notice, now),
        }
    }

    /// What to do now.
    pub(super) fn step(&mut self, now: Timestamp) -> Step {
        self.bury_overdue(now);
        let (ready_at, draining) = (self.pace.ready_at(), self.draining);
        let step = match &mut self.plan {
            _ if self.disabled => Step::Wait(None),
            Plan::Alertmanager(roster) if ready_at > now => Step::Wait(roster.next_due().map(|due| due.max(ready_at))),
            Plan::Alertmanager(roster) => {
                let nothing_new = draining && roster.unsettled() == 0;
                let batch = if nothing_new { Vec::new() } else { roster.batch(now) };
                self.tally.dropped += roster.take_lost();
                if batch.is_empty() { Step::Wait(roster.next_due()) } else { Step::Send(Job::Alerts(batch)) }
            }
            Plan::Webhook(webhook) => {
                let overdue_at = webhook.queue.oldest().map(|oldest| oldest + webhook.give_up_after);
                let wait = |until: Timestamp| Step::Wait(overdue_at.map(|overdue| until.min(overdue)));
                if ready_at > now {
                    wait(ready_at)
                } else {
                    match webhook.queue.next(now) {
                        Next::Send(entry) => Step::Send(Job::Message(entry)),
                        Next::Wait(until) => wait(until),
                        Next::Nothing => Step::Wait(None),
                    }
                }
            }
        };
        match step {
            Step::Wait(_) if draining && self.backlog() == 0 => Step::Done,
            Step::Send(job) => {
                self.in_flight = job.len();
                Step::Send(job)
            }
            other => other,
        }
    }

    /// Takes the answer to `job`. `wall` is the wall clock, for the status.
    pub(super) fn report(&mut self, job: Job, reply: &Reply, now: Timestamp, wall: Timestamp) {
        self.in_flight = 0;
        let alerts = job.len();
        match reply {
            Reply::Accepted => {
                self.pace.succeeded();
                self.tally.sent += alerts as u64;
                self.tally.last_success = Some(wall);
                tracing::debug!(receiver = self.name, alerts, "alerts delivered");
            }
            Reply::Later { reason, slow_down, retry_after } => {
                self.pace.failed(now, *slow_down, *retry_after);
                tracing::warn!(receiver = self.name, alerts, reason, "sending alerts failed, will be retried");
            }
            Reply::Refused { .. } | Reply::Gone { .. } => self.pace.succeeded(),
        }
        if let Reply::Later { reason, .. } | Reply::Refused { reason } | Reply::Gone { reason } = reply {
            self.tally.failed += 1;
            self.tally.last_error = Some((wall, reason.clone()));
        }
        match job {
            Job::Alerts(batch) => self.report_batch(&batch, reply, now),
            Job::Message(entry) => self.report_message(*entry, reply, now),
        }
    }

    fn report_batch(&mut self, batch: &[Due], reply: &Reply, now: Timestamp) {
        let Plan::Alertmanager(roster) = &mut self.plan else { return };
        if let Reply::Refused { reason } | Reply::Gone { reason } = reply {
            tracing::error!(receiver = self.name, alerts = batch.len(), reason, "alerts refused");
        }
        if !matches!(reply, Reply::Later { .. }) {
            for Settled { fingerprint, number } in roster.settle(batch, now) {
                self.settle(fingerprint, number);
            }
        }
    }

    fn report_message(&mut self, mut entry: Entry, reply: &Reply, now: Timestamp) {
        let Plan::Webhook(webhook) = &mut self.plan else { return };
        match reply {
            Reply::Accepted => self.settle(entry.message.fingerprint, entry.message.number),
            Reply::Later { .. } if webhook.is_superseded(&entry) => self.bury(&entry, SUPERSEDED),
            Reply::Later { .. } => {
                entry.failures = entry.failures.saturating_add(1);
                let failures = if self.draining { 1 } else { entry.failures };
                let not_before = now + self.pace.delay(failures);
                let dropped = webhook.queue.retry(entry, not_before);
                self.drop_message(dropped);
            }
            Reply::Refused { reason } => self.bury(&entry, reason),
            Reply::Gone { reason } => {
                let undelivered = 1 + webhook.queue.clear();
                webhook.open.clear();
                self.disabled = true;
                self.tally.dead_letters += undelivered as u64;
                tracing::error!(
                    receiver = self.name,
                    reason,
                    undelivered,
                    "receiver is gone and disabled until the configuration is loaded again"
                );
            }
        }
    }

    /// Moves messages that are too old to the dead letters.
    fn bury_overdue(&mut self, now: Timestamp) {
        while let Plan::Webhook(webhook) = &mut self.plan {
            let Some(entry) = webhook.queue.pop_overdue(now, webhook.give_up_after) else { return };
            self.bury(&entry, "not delivered in time");
        }
    }

    fn bury(&mut self, entry: &Entry, reason: &str) {
        self.tally.dead_letters += 1;
        self.settle(entry.message.fingerprint, entry.message.number);
        let (id, event, attempts) = (&entry.message.id, entry.message.event.as_str(), entry.failures);
        tracing::error!(receiver = self.name, id, event, failed_attempts = attempts, reason, "message given up");
    }

    /// What had to go for another message, if anything, is done with.
    fn drop_message(&mut self, dropped: Option<Entry>) {
        if let Some(Entry { message, .. }) = dropped {
            self.settle(message.fingerprint, message.number);
            self.count_dropped();
        }
    }

    fn count_dropped(&mut self) {
        self.tally.dropped += 1;
        tracing::warn!(receiver = self.name, "queue is full, oldest alert dropped");
    }

    /// From now on the task ends when nothing is left; what waits for our own patience is tried at once.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.pace.hurry();
        if let Plan::Webhook(webhook) = &mut self.plan {
            webhook.queue.hurry();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::AlertState::{self, Firing, Resolved};
    use crate::canary::Decision;
    use crate::notify::alertmanager::Repetition;
    use crate::notify::notice::tests::notice;
    use crate::notify::pace::{Backoff, Jitter};
    use crate::notify::slack::Links;
    use crate::notify::telling::Desk;
    use crate::notify::telling::tests::{Story, surroundings, told};
    use crate::notify::webhook::Event;

    const HOUR: Span = Span::hours(1);

    fn pace() -> Pace {
        Pace::new(Backoff { first: Span::seconds(1), limit: Span::minutes(5) }, Jitter::seeded(1))
    }

    fn standard() -> Form {
        Form::Standard { external_url: surroundings().external_url }
    }

    fn webhook(limit_messages: usize) -> Receiver {
        let plan = Webhook::new(standard(), Queue::new(limit_messages), true, HOUR);
        Receiver::new("hook".to_owned(), Plan::Webhook(plan), pace())
    }

    fn alertmanager() -> Receiver {
        let repetition = Repetition { resend_delay: Span::minutes(1), interval: Span::ZERO };
        Receiver::new("am".to_owned(), Plan::Alertmanager(Roster::new(repetition, 100)), pace())
    }

    fn accept(receiver: &mut Receiver, name: &str, state: AlertState, now: Timestamp) {
        receiver.accept(&Arc::new(notice(name, state)), now);
    }

    fn job(step: Step) -> Job {
        let Step::Send(job) = step else { panic!("{step:?}") };
        job
    }

    fn event(job: &Job) -> Event {
        let Job::Message(entry) = job else { panic!("{job:?}") };
        entry.message.event
    }

    fn later() -> Reply {
        Reply::unanswered("connection refused".to_owned())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000)
    }

    #[test]
    fn a_message_is_retried_with_the_same_id_until_it_is_too_old() {
        let mut hook = webhook(10);
        accept(&mut hook, "A", Firing, at(0));
        let (mut now, mut ids, mut delays) = (at(0), Vec::new(), Vec::new());
        loop {
            match hook.step(now) {
                Step::Send(Job::Message(entry)) => {
                    ids.push(entry.message.id.clone());
                    hook.report(Job::Message(entry), &later(), now, now);
                }
                Step::Wait(Some(until)) => {
                    delays.push(until.since(now));
                    now = until;
                }
                Step::Wait(None) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(now, at(0) + HOUR);
        assert!(ids.len() > 12 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert!(delays.iter().all(|delay| *delay <= Span::minutes(5)));
        assert_eq!((hook.tally().dead_letters, hook.backlog()), (1, 0));
        assert_eq!(hook.tally().failed, ids.len() as u64);
    }

    /// Time passes for nobody between the record and the request: a rollback is as late as the disk and the network.
    #[test]
    fn a_rollback_leaves_at_once() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2"));
        let plan = |form| Plan::Webhook(Webhook::new(form, Queue::new(10), true, HOUR));
        let slack = Form::Slack(Links { external_url: surroundings().external_url, dashboard: None });
        let receivers = [standard(), slack].map(|form| Receiver::new("r".to_owned(), plan(form), pace()));
        let started = told(&mut desk, &story.started());
        let taken = desk.take(&story.verdict(Decision::Rollback, "5%"), &surroundings(), at(0));
        let (rollback, alert) = (taken.telling.unwrap(), Arc::new(taken.alerts[0].clone()));
        for mut receiver in receivers {
            for telling in [&started, &rollback] {
                receiver.accept_rollout(telling, at(7));
                let sent = job(receiver.step(at(7)));
                assert_eq!(Some(event(&sent)), Event::of(telling.what));
                receiver.report(sent, &Reply::Accepted, at(7), at(7));
            }
            receiver.accept_rollout_alert(&alert, at(7));
            assert_eq!(receiver.backlog(), 0, "it hears of alerts about rollouts by messages");
        }
        let mut am = alertmanager();
        am.accept_rollout(&rollback, at(7));
        assert!(matches!(am.step(at(7)), Step::Wait(None)), "an Alertmanager by alerts alone");
        am.accept_rollout_alert(&alert, at(7));
        assert!(matches!(am.step(at(7)), Step::Send(Job::Alerts(_))));
    }

    #[test]
    fn retry_after_holds_back_the_whole_receiver() {
        let mut hook = webhook(10);
        accept(&mut hook, "A", Firing, at(0));
        accept(&mut hook, "B", Firing, at(0));
        let first = job(hook.step(at(0)));
        let reply = Reply::of_status(429, Some("120"), "", at(0));
        hook.report(first, &reply, at(0), at(0));
        assert!(matches!(hook.step(at(1)), Step::Wait(Some(until)) if until == at(120)));
        assert!(matches!(hook.step(at(120)), Step::Send(_)));
    }

    #[test]
    fn a_refused_message_is_a_dead_letter_at_once() {
        let mut hook = webhook(10);
        accept(&mut hook, "A", Firing, at(0));
        accept(&mut hook, "B", Firing, at(0));
        let first = job(hook.step(at(0)));
        hook.report(first, &Reply::of_status(422, None, "no such field", at(0)), at(0), at(9));
        assert_eq!(hook.tally().dead_letters, 1);
        assert_eq!(hook.tally().last_error, Some((at(9), "status 422: no such field".to_owned())));
        let second = job(hook.step(at(0)));
        hook.report(second, &Reply::Accepted, at(0), at(10));
        assert_eq!((hook.tally().sent, hook.tally().last_success), (1, Some(at(10))));
    }

    #[test]
    fn a_receiver_that_is_gone_hears_nothing_more() {
        let mut hook = webhook(10);
        for name in ["A", "B", "C"] {
            accept(&mut hook, name, Firing, at(0));
        }
        let first = job(hook.step(at(0)));
        hook.report(first, &Reply::of_status(410, None, "", at(0)), at(0), at(0));
        assert!(hook.disabled());
        assert!(matches!(hook.step(at(1)), Step::Wait(None)));
        accept(&mut hook, "D", Firing, at(2));
        assert_eq!((hook.tally().dead_letters, hook.tally().dropped, hook.backlog()), (3, 1, 0));
        hook.drain();
        assert!(matches!(hook.step(at(3)), Step::Done));
    }

    #[test]
    fn the_end_is_told_only_of_what_was_told_to_begin() {
        let mut hook = webhook(10);
        accept(&mut hook, "A", Resolved, at(0));
        assert_eq!(hook.backlog(), 0);
        accept(&mut hook, "A", Firing, at(1));
        accept(&mut hook, "A", Firing, at(2));
        accept(&mut hook, "A", Resolved, at(3));
        accept(&mut hook, "A", Resolved, at(4));
        let mut events = Vec::new();
        while let Step::Send(job) = hook.step(at(5)) {
            events.push(event(&job));
            hook.report(job, &Reply::Accepted, at(5), at(5));
        }
        assert_eq!(events, [Event::Firing, Event::Resolved]);
    }

    #[test]
    fn ends_can_be_left_out() {
        let plan = Webhook::new(standard(), Queue::new(10), false, HOUR);
        let mut hook = Receiver::new("hook".to_owned(), Plan::Webhook(plan), pace());
        accept(&mut hook, "A", Firing, at(0));
        accept(&mut hook, "A", Resolved, at(1));
        assert_eq!(hook.backlog(), 1);
    }

    #[test]
    fn after_a_restart_webhooks_hear_only_the_end_and_alertmanagers_all() {
        let (mut hook, mut am) = (webhook(10), alertmanager());
        let firing = Arc::new(notice("A", Firing));
        hook.resume(&firing, at(0));
        am.resume(&firing, at(0));
        assert_eq!((hook.backlog(), am.backlog()), (0, 1));
        accept(&mut hook, "A", Resolved, at(1));
        assert_eq!(event(&job(hook.step(at(1)))), Event::Resolved);
    }

    #[test]
    fn a_full_queue_counts_what_it_drops() {
        let mut hook = webhook(3);
        for n in 0..10 {
            accept(&mut hook, &format!("A{n}"), Firing, at(0));
        }
        assert_eq!((hook.tally().dropped, hook.backlog()), (7, 3));
    }

    #[test]
    fn a_failed_batch_is_sent_again_and_a_refused_one_after_the_resend_delay() {
        let mut am = alertmanager();
        accept(&mut am, "A", Firing, at(0));
        let failed = job(am.step(at(0)));
        am.report(failed, &later(), at(0), at(0));
        assert!(matches!(am.step(at(0)), Step::Wait(Some(until)) if until <= at(1)));
        let refused = job(am.step(at(1)));
        am.report(refused, &Reply::of_status(400, None, "bad label", at(1)), at(1), at(1));
        assert_eq!(am.backlog(), 0);
        assert!(matches!(am.step(at(1)), Step::Wait(Some(until)) if until == at(61)));
        assert!(matches!(am.step(at(61)), Step::Send(Job::Alerts(_))));
    }

    #[test]
    fn draining_tries_once_more_at_once_and_ends_when_nothing_is_left() {
        let (mut hook, mut am) = (webhook(10), alertmanager());
        for receiver in [&mut hook, &mut am] {
            accept(receiver, "A", Firing, at(0));
            for second in [0, 100, 200] {
                let job = job(receiver.step(at(second)));
                receiver.report(job, &later(), at(second), at(second));
            }
            assert!(matches!(receiver.step(at(201)), Step::Wait(Some(_))));
            receiver.drain();
            let last = job(receiver.step(at(201)));
            receiver.report(last, &Reply::Accepted, at(201), at(201));
            assert!(matches!(receiver.step(at(201)), Step::Done));
        }
    }
}
