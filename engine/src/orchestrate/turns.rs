//! Moves instances in memory: one item after the other, each turn pure, everything it asks for collected in a plan.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use orderly_orchestrations::{
    CorrelationKey, Definition, Event, Next, Resume, TURN_TIME, Turn, TurnContext, turn,
};
use orderly_rules::{MessageValue, Properties};
use sqlx::PgConnection;

use super::load::{self, Holders, Loaded};
use super::plan::{Live, Plan, Stand};
use super::{Moved, effects, inputs};
use crate::configuration::Configuration;
use crate::current::Current;
use crate::fault;
use crate::ids::{InstanceId, MessageId};
use crate::lane::Item;
use crate::message_box::subscription::properties_of;
use crate::notice::Notice;
use crate::parked::{self, NewParked};
use crate::store::{Error, Store};
use crate::tracking::{Detail as TrackDetail, Entry, Kind as TrackKind};
use crate::work::{self, Command, Detail, Kind, NewWork, Subscribed};

/// Why an item cannot be part of its batch.
pub(super) enum Trouble {
    /// The database.
    Store(Error),
    /// A turn panicked.
    Panicked,
    /// It ended the process too often.
    Deadly,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// A batch under way.
pub(super) struct Batch<'a> {
    pub(super) store: &'a Store,
    pub(super) current: &'a Current,
    pub(super) now: DateTime<Utc>,
    pub(super) plan: Plan,
    holders: Holders,
    unreadable: std::collections::HashSet<i64>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(store: &'a Store, current: &'a Current, now: DateTime<Utc>, loaded: Loaded) -> Self {
        let plan = Plan { instances: loaded.instances, messages: loaded.messages, ..Plan::default() };
        Self { store, current, now, plan, holders: loaded.holders, unreadable: loaded.unreadable }
    }

    /// Takes one piece of work.
    pub(super) async fn take(&mut self, moved: &Moved, connection: &mut PgConnection) -> Result<(), Trouble> {
        match moved {
            Moved::Timer { instance, token, .. } => {
                if self.plan.instances.get(instance).is_some_and(|live| live.stand != Stand::Ended) {
                    self.plan.fired.push((*instance, *token));
                    self.run(*instance, Event::Timer { token: *token }, "timer", None, connection).await?;
                }
                Ok(())
            }
            Moved::Item(item) => self.item(item, connection).await,
        }
    }

    async fn item(&mut self, item: &Item, connection: &mut PgConnection) -> Result<(), Trouble> {
        match (item.kind, &item.detail) {
            (Kind::Message, Some(Detail::Subscribed(subscribed))) => {
                self.subscribed(item, subscribed, connection).await
            }
            (Kind::Start, Some(Detail::Start { inputs, .. })) => self.start(item, inputs, connection).await,
            (Kind::Command, Some(Detail::Command { command, person, reason })) => {
                self.command(item, *command, person, reason, connection).await
            }
            (_, Some(detail)) => {
                let Some(instance) = item.instance else {
                    self.park(item, "unreadable", "The work names no instance.");
                    return Ok(());
                };
                let Some((event, word)) = self.event(item, detail.clone()) else {
                    self.park(item, "unreadable", "The work cannot be read.");
                    return Ok(());
                };
                let about = matches!(item.kind, Kind::Answered | Kind::Sent | Kind::SendFailed)
                    .then_some(MessageId(item.subject));
                self.tell_instance(item, instance, event, word, about, connection).await
            }
            (_, None) => {
                self.park(item, "unreadable", "The work cannot be read.");
                Ok(())
            }
        }
    }

    fn event(&self, item: &Item, detail: Detail) -> Option<(Event, &'static str)> {
        Some(match detail {
            Detail::Decided { task, outcome, by, at, reason, fields } => {
                let fields = inputs::fields(&fields);
                (Event::TaskDecided { task, outcome, by, at, reason, fields }, "task")
            }
            Detail::TaskCancelled { task, by, reason } => (Event::TaskCancelled { task, by, reason }, "task"),
            Detail::Sent { send, at } => (Event::Sent { send, at }, "sent"),
            Detail::Answered { send, code, text } => {
                let message = self.message_value(item.subject);
                (Event::Answered { send, code, message, text }, "answer")
            }
            Detail::SendFailed { send, code, text } => (Event::SendFailed { send, code, text }, "answer"),
            Detail::Timer { token } => (Event::Timer { token }, "timer"),
            _ => return None,
        })
    }

    fn message_value(&self, id: i64) -> Option<MessageValue> {
        self.plan.messages.get(&id).map(|message| MessageValue::stored(id, message.clone()))
    }

    /// A message that a subscription of an orchestration matched: start or continue.
    async fn subscribed(
        &mut self,
        item: &Item,
        subscribed: &Subscribed,
        connection: &mut PgConnection,
    ) -> Result<(), Trouble> {
        let Some(message) = self.message_value(item.subject) else {
            self.park(item, "unreadable", "The stored message cannot be read.");
            return Ok(());
        };
        let Some(subscriber) = self.current.directory.subscriber_of_lane(item.lane).map(|known| known.id)
        else {
            self.park(item, "no_orchestration", "The orchestration is not known any more.");
            return Ok(());
        };
        let holders: Vec<(i64, i32)> = match (item.instance, &subscribed.correlation) {
            (Some(instance), _) => vec![(instance, item.lane)],
            (None, Some((set, key))) if subscribed.follows => {
                self.holders.get(&(subscriber, set.clone(), *key)).cloned().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let mut taken = false;
        for (instance, lane) in holders {
            if lane != item.lane {
                self.forward(item, instance, lane, subscribed);
                taken = true;
                continue;
            }
            if self.unreadable.contains(&instance) {
                self.park(item, "instance.unreadable", "The instance that waits for it cannot be read.");
                return Ok(());
            }
            let Some(live) = self.plan.instances.get(&instance).filter(|live| live.stand != Stand::Ended)
            else {
                continue;
            };
            let event = Event::Message {
                message: message.clone(),
                properties: properties_of(
                    &live.configuration,
                    message.message.as_ref().unwrap_or_else(|| unreachable!("it was read above")),
                ),
                set: subscribed.correlation.as_ref().map(|(set, _)| set.clone()),
                ports: Vec::new(),
            };
            self.run(instance, event, "message", Some(MessageId(item.subject)), connection).await?;
            taken = true;
        }
        if taken {
            return Ok(());
        }
        if let Some(trigger) = subscribed.activates {
            return self
                .activate(
                    item,
                    subscriber,
                    (usize::from(trigger), subscribed.fault.as_deref()),
                    message,
                    connection,
                )
                .await;
        }
        self.nobody_waits(item, subscriber, subscribed);
        Ok(())
    }

    async fn activate(
        &mut self,
        item: &Item,
        subscriber: i32,
        (trigger, fault): (usize, Option<&work::Fault>),
        message: MessageValue,
        connection: &mut PgConnection,
    ) -> Result<(), Trouble> {
        let Some(id) = self.new_instance(self.store.ids().next_id(), subscriber, item.lane) else {
            self.park(item, "no_orchestration", "The orchestration is not enlisted any more.");
            return Ok(());
        };
        // An activation is asked for its properties only where it opens correlation sets.
        let opens = self.plan.instances.get(&id).is_some_and(|live| {
            let enlisted = live.configuration.orchestrations.get(&live.name);
            enlisted.is_some_and(|enlisted| !enlisted.definition.sets().is_empty())
        });
        let mut properties = match message.message.as_ref().filter(|_| opens) {
            Some(content) => properties_of(&self.current.configuration, content),
            None => Properties::new(),
        };
        if let Some(fault) = fault {
            fault.promote(&mut properties);
        }
        let event = Event::Activate { trigger, message, properties };
        self.run(id, event, "message", Some(MessageId(item.subject)), connection).await
    }

    async fn start(&mut self, item: &Item, text: &str, connection: &mut PgConnection) -> Result<(), Trouble> {
        let subscriber = self.current.directory.subscriber_of_lane(item.lane).map(|known| known.id);
        let Some(id) =
            subscriber.and_then(|subscriber| self.new_instance(item.subject, subscriber, item.lane))
        else {
            self.park(item, "no_orchestration", "The orchestration to start is not enlisted.");
            return Ok(());
        };
        let mut inputs = inputs::values(text);
        let messages = crate::lane::load_messages(self.store.pool(), &inputs::message_ids(&inputs)).await?;
        inputs::attach(&mut inputs, &messages);
        self.plan.messages.extend(messages);
        self.run(id, Event::Called { inputs }, "called", None, connection).await
    }

    fn new_instance(&mut self, id: i64, subscriber: i32, lane: i32) -> Option<i64> {
        let name = &self.current.directory.subscriber_by_id(subscriber)?.name;
        self.current.configuration.orchestrations.get(name)?;
        self.plan.instances.insert(
            id,
            Live {
                id,
                orchestration: subscriber,
                name: name.clone(),
                configuration: self.current.configuration.clone(),
                lane,
                read_turn: 0,
                turn: 0,
                state: None,
                stand: Stand::Waiting(String::new()),
                moved: false,
            },
        );
        Some(id)
    }

    async fn tell_instance(
        &mut self,
        item: &Item,
        instance: i64,
        event: Event,
        word: &'static str,
        about: Option<MessageId>,
        connection: &mut PgConnection,
    ) -> Result<(), Trouble> {
        if self.unreadable.contains(&instance) {
            self.park(item, "instance.unreadable", "The instance that waits for it cannot be read.");
            return Ok(());
        }
        match self.plan.instances.get(&instance) {
            Some(live) if live.stand != Stand::Ended => {
                self.run(instance, event, word, about, connection).await
            }
            _ => {
                let text = format!("The instance had ended before this {word} came.");
                self.note(TrackKind::LateAnswer, about, Some(instance), item, "ended", &text);
                Ok(())
            }
        }
    }

    async fn command(
        &mut self,
        item: &Item,
        command: Command,
        person: &str,
        reason: &str,
        connection: &mut PgConnection,
    ) -> Result<(), Trouble> {
        let instance = item.instance.unwrap_or(item.subject);
        let how = match command {
            Command::Retry => Resume::Retry,
            Command::GoOn => Resume::GoOn,
            Command::Terminate => {
                self.terminate(instance, person, reason);
                return Ok(());
            }
        };
        self.tell_instance(item, instance, Event::Resume { how }, "command", None, connection).await
    }

    /// A person ended it: no turn runs, what it had queued is routed again.
    fn terminate(&mut self, instance: i64, person: &str, reason: &str) {
        let Some(live) = self.plan.instances.get_mut(&instance).filter(|live| live.stand != Stand::Ended)
        else {
            return;
        };
        live.stand = Stand::Ended;
        live.moved = true;
        let queued = live.state.as_ref().map(orderly_orchestrations::State::queued).unwrap_or_default();
        let detail = TrackDetail::Action {
            action: "instance.terminated".to_owned(),
            reason: reason.to_owned(),
            object: String::new(),
        };
        let mut entry = Entry::new(TrackKind::Terminated, live.configuration.version, detail);
        entry.instance = Some(InstanceId(instance));
        entry.subscriber = Some(live.orchestration);
        entry.person = Some(person.to_owned());
        self.plan.entries.push(entry);
        self.ended(instance);
        effects::reroute(self, instance, &queued);
    }

    /// What ended holds nothing any more.
    fn ended(&mut self, instance: i64) {
        self.plan.forget_waits_of(instance);
        for held in self.holders.values_mut() {
            held.retain(|(holder, _)| *holder != instance);
        }
    }

    /// One turn.
    async fn run(
        &mut self,
        instance: i64,
        event: Event,
        word: &'static str,
        about: Option<MessageId>,
        connection: &mut PgConnection,
    ) -> Result<(), Trouble> {
        let Some(live) = self.plan.instances.get_mut(&instance) else { return Ok(()) };
        let Some(enlisted) = live.configuration.orchestrations.get(&live.name) else {
            live.stand = Stand::Suspended {
                code: "no_orchestration".to_owned(),
                text: "Its configuration does not have the orchestration.".to_owned(),
            };
            return Ok(());
        };
        let (definition, settings) = (enlisted.definition.clone(), enlisted.settings.clone());
        let configuration = live.configuration.clone();
        let orchestration = live.orchestration;
        let number = u64::try_from(live.turn + 1).unwrap_or_default();
        let mut state = live.state.take();
        let again = (!definition.sets().is_empty()).then(|| (state.clone(), event.clone()));
        let mut call = Call {
            batch: self,
            definition: &definition,
            configuration: &configuration,
            settings: &settings,
            word,
            about,
        };
        let (mut made, asked) = call.turn(instance, orchestration, number, state.take(), event)?;
        if let (false, Some((state, event))) = (asked.is_empty(), again) {
            // The turn opened values that were not looked up before it: look now, and run it again if somebody holds them.
            let found = load::holders(connection, &asked).await?;
            let held = found.values().any(|holders| !holders.is_empty());
            self.holders.extend(found);
            if held {
                let mut call = Call {
                    batch: self,
                    definition: &definition,
                    configuration: &configuration,
                    settings: &settings,
                    word,
                    about,
                };
                made = call.turn(instance, orchestration, number, state, event)?.0;
            }
        }
        self.settle(instance, made, word, about);
        Ok(())
    }

    /// Takes what a turn gave back into the plan.
    fn settle(&mut self, instance: i64, made: Turn, word: &'static str, about: Option<MessageId>) {
        let Turn { state, next, effects, steps, leftovers } = made;
        let Some(live) = self.plan.instances.get_mut(&instance) else { return };
        live.turn += 1;
        live.moved = true;
        let before = std::mem::replace(&mut live.stand, stand_of(&next));
        live.state = Some(state);
        let (orchestration, turn, version) = (live.orchestration, live.turn, live.configuration.version);
        let stand = live.stand.clone();
        let place = self.plan.entries.len();
        let made = effects::apply(self, instance, effects);
        let detail = TrackDetail::Turn {
            turn: u64::try_from(turn).unwrap_or_default(),
            event: word.to_owned(),
            steps: steps.into_iter().map(effects::step).collect(),
            made,
            next: in_words(&next),
        };
        let mut entry = Entry::new(TrackKind::Turn, version, detail);
        entry.message = about;
        entry.instance = Some(InstanceId(instance));
        entry.subscriber = Some(orchestration);
        // Before what the turn caused.
        self.plan.entries.insert(place, entry);
        match stand {
            Stand::Ended => self.ended(instance),
            Stand::Suspended { code, .. } if !matches!(before, Stand::Suspended { .. }) => {
                self.plan.notices.push(Notice::InstanceSuspended {
                    subscriber: orchestration,
                    instance: InstanceId(instance),
                    code,
                });
            }
            _ => {}
        }
        effects::reroute(self, instance, &leftovers);
    }

    /// Notes correlation values that a turn opened.
    pub(super) fn hold(&mut self, orchestration: i32, set: &str, key: [u8; 16], instance: i64, lane: i32) {
        self.holders.entry((orchestration, set.to_owned(), key)).or_default().push((instance, lane));
    }

    fn forward(&mut self, item: &Item, instance: i64, lane: i32, subscribed: &Subscribed) {
        self.plan.work.push(NewWork {
            lane,
            kind: Kind::Message,
            subject: item.subject,
            key: item.key,
            instance: Some(InstanceId(instance)),
            detail: Some(Detail::Subscribed(subscribed.clone())),
        });
    }

    fn nobody_waits(&mut self, item: &Item, subscriber: i32, subscribed: &Subscribed) {
        let message = MessageId(item.subject);
        let text = "No open instance waits for it.";
        if subscribed.taken_elsewhere {
            self.note(TrackKind::NotRouted, Some(message), None, item, "no_instance", text);
            return;
        }
        self.park_as(item, parked::NO_SUBSCRIBER, text, None, Some(subscriber));
        self.note(TrackKind::NotRouted, Some(message), None, item, parked::NO_SUBSCRIBER, text);
        let code = parked::NO_SUBSCRIBER.to_owned();
        self.plan.notices.push(Notice::NotRouted { message, code });
    }

    fn note(
        &mut self,
        kind: TrackKind,
        about: Option<MessageId>,
        instance: Option<i64>,
        item: &Item,
        code: &str,
        text: &str,
    ) {
        let detail = TrackDetail::Cause { code: code.to_owned(), text: text.to_owned(), sha256: None };
        let mut entry = Entry::new(kind, self.current.configuration.version, detail);
        entry.message = about;
        entry.instance = instance.map(InstanceId);
        entry.subscriber = self.current.directory.subscriber_of_lane(item.lane).map(|known| known.id);
        self.plan.entries.push(entry);
    }

    /// Suspends a piece of work for a person.
    pub(super) fn park(&mut self, item: &Item, code: &str, text: &str) {
        let subscriber = self.current.directory.subscriber_of_lane(item.lane).map(|known| known.id);
        self.park_as(item, code, text, Some(item.lane), subscriber);
        let about = (item.kind == Kind::Message).then_some(MessageId(item.subject));
        self.note(TrackKind::Suspended, about, item.instance, item, code, text);
    }

    fn park_as(&mut self, item: &Item, code: &str, text: &str, lane: Option<i32>, subscriber: Option<i32>) {
        self.plan.parked.push(NewParked {
            id: self.store.ids().next_id(),
            lane,
            subscriber,
            sequence: item.sequence,
            kind: item.kind,
            subject: item.subject,
            key: item.key,
            instance: item.instance,
            detail: item.detail.as_ref().map(Detail::encode),
            state: parked::State::Suspended,
            attempt: 0,
            due_at: None,
            code: code.to_owned(),
            reason: text.to_owned(),
        });
    }
}

/// One call of `turn` with what it may read.
struct Call<'b, 'a> {
    batch: &'b mut Batch<'a>,
    definition: &'b Arc<Definition>,
    configuration: &'b Configuration,
    settings: &'b indexmap::IndexMap<String, orderly_rules::Value>,
    word: &'static str,
    about: Option<MessageId>,
}

type Asked = Vec<(i32, String, [u8; 16])>;

impl Call<'_, '_> {
    /// The turn, and the correlation values whose holders it asked for although nobody had looked them up.
    fn turn(
        &mut self,
        instance: i64,
        orchestration: i32,
        number: u64,
        state: Option<orderly_orchestrations::State>,
        event: Event,
    ) -> Result<(Turn, Asked), Trouble> {
        let ids = self.batch.store.ids();
        let asked = RefCell::new(Vec::new());
        let holders = &self.batch.holders;
        let held = |key: &CorrelationKey| {
            let place = (orchestration, key.set.clone(), key.hash());
            match holders.get(&place) {
                Some(holders) => holders.iter().any(|(holder, _)| *holder != instance),
                None => {
                    asked.borrow_mut().push(place);
                    false
                }
            }
        };
        let mut new_message_id = || ids.next_id();
        let mut context = TurnContext {
            now: self.batch.now,
            instance,
            turn: number,
            rules: &self.configuration.rules,
            settings: self.settings,
            new_message_id: &mut new_message_id,
            time: TURN_TIME,
            held: Some(&held),
        };
        let place = if self.word == "timer" { fault::Place::Timer } else { fault::Place::Turn };
        let messages = &self.batch.plan.messages;
        let about = self.about.and_then(|about| messages.get(&about.0));
        let made = catch_unwind(AssertUnwindSafe(|| {
            fault::at(place, || about.map(|message| message.header().control_id).unwrap_or_default());
            turn(self.definition, state, event, &mut context)
        }));
        let made = made.map_err(|_| Trouble::Panicked)?;
        Ok((made, asked.into_inner()))
    }
}

fn stand_of(next: &Next) -> Stand {
    match next {
        Next::Waiting { text } => Stand::Waiting(text.clone()),
        Next::Suspended { code, text, .. } => Stand::Suspended { code: code.clone(), text: text.clone() },
        Next::Completed { .. } | Next::Terminated { .. } => Stand::Ended,
    }
}

fn in_words(next: &Next) -> String {
    match next {
        Next::Waiting { text } => text.clone(),
        Next::Suspended { code, text, .. } => format!("suspended: {code}: {text}"),
        Next::Completed { outcome: Some(outcome) } => format!("completed: {outcome}"),
        Next::Completed { outcome: None } => "completed".to_owned(),
        Next::Terminated { reason } => format!("terminated: {reason}"),
    }
}
