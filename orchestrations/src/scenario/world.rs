//! The world of one scenario: instances, timers, tasks, sends and the clock, all in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use indexmap::IndexMap;
use orderly_hl7::Message;
use orderly_rules::{MessageValue, Properties, RuleBook, Value};

use super::read::{Scenario, Step};
use crate::{
    CorrelationKey, Definition, Effect, Event, Expect, Next, Resume, State, Task, Turn, TurnContext,
    correlation_keys,
};

/// A thing that happened and that a scenario may expect.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) what: What,
    pub(super) expected: bool,
}

/// What happened.
#[derive(Debug, Clone)]
pub(super) enum What {
    Task(Box<Task>),
    Email { to_roles: Vec<String>, to_users: Vec<String>, text: String },
    Sent { port: String, message: Message },
    Milestone { name: String },
    Acknowledged { code: String, text: String, path: String },
    Started { orchestration: String },
    NotRouted,
}

/// One instance.
pub(super) struct Instance {
    id: i64,
    state: Stored,
    turn: u64,
    pub(super) next: Next,
    timers: Vec<(u32, DateTime<Utc>)>,
    keys: Vec<CorrelationKey>,
    pub(super) tasks: Vec<OpenTask>,
    pub(super) sends: Vec<OpenSend>,
}

enum Stored {
    Memory(Box<State>),
    Bytes(Vec<u8>),
}

/// A task that waits for people.
pub(super) struct OpenTask {
    pub(super) task: Task,
    pub(super) votes: Vec<String>,
}

/// A send that waits for its answer.
pub(super) struct OpenSend {
    pub(super) send: u32,
    pub(super) port: String,
    pub(super) message: i64,
    pub(super) expect: Expect,
}

/// The world of one scenario.
pub(super) struct World<'a> {
    pub(super) definition: Arc<Definition>,
    rules: &'a RuleBook,
    settings: IndexMap<String, Value>,
    crashing: bool,
    pub(super) now: DateTime<Utc>,
    pub(super) messages: HashMap<i64, Message>,
    came_by: HashMap<i64, String>,
    last_id: i64,
    pub(super) instances: Vec<Instance>,
    pub(super) seen: Vec<Seen>,
    pub(super) covered: BTreeSet<String>,
    pub(super) failures: Vec<String>,
    /// What the last error said in full: samples are made up, so tests may show it.
    pub(super) last_error: String,
}

impl<'a> World<'a> {
    pub(super) fn new(
        definition: Arc<Definition>,
        rules: &'a RuleBook,
        scenario: &Scenario,
        crashing: bool,
    ) -> Self {
        Self {
            definition,
            rules,
            settings: scenario.settings.clone(),
            crashing,
            now: scenario.now,
            messages: HashMap::new(),
            came_by: HashMap::new(),
            last_id: 1000,
            instances: Vec::new(),
            seen: Vec::new(),
            covered: BTreeSet::new(),
            failures: Vec::new(),
            last_error: String::new(),
        }
    }

    /// Plays one step.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Receive { port, message } => self.receive(port, message.clone()),
            Step::Start { with } => self.start(with.clone()),
            Step::Expect(expectation) => self.expect(expectation),
            Step::Advance(length) => self.advance(*length),
            Step::Decide { task, by, outcome, reason, fields } => {
                self.decide(task, by, outcome, reason, fields)
            }
            Step::Cancel { task, by, reason } => {
                let (at, task) = self.task(task)?;
                self.instances[at].tasks.retain(|open| open.task.task != task);
                self.raise(at, Event::TaskCancelled { task, by: by.clone(), reason: reason.clone() })
            }
            Step::Reply { port, code, kind, text, message } => {
                self.reply(port, code, kind.as_deref(), text, message.as_ref())
            }
            Step::Fail { port, code } => {
                let (at, send) = self.open_send(port)?;
                let send = self.instances[at].sends.remove(send).send;
                let text = "the port gave up".to_owned();
                self.raise(at, Event::SendFailed { send, code: code.clone(), text })
            }
            Step::Resume(how) => self.resume(*how),
        }
    }

    fn resume(&mut self, how: Resume) -> Result<(), String> {
        let at = self.instances.iter().rposition(|it| matches!(it.next, Next::Suspended { .. }));
        let at = at.ok_or("no instance is suspended")?;
        self.raise(at, Event::Resume { how })
    }

    pub(super) fn new_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    /// A message comes in by a logical port.
    fn receive(&mut self, port: &str, message: Message) -> Result<(), String> {
        if !self.definition.ports().contains_key(port) {
            return Err(format!("the definition has no port {port}"));
        }
        let id = self.new_id();
        self.messages.insert(id, message.clone());
        self.came_by.insert(id, port.to_owned());
        self.route(port, MessageValue::stored(id, message))
    }

    fn route(&mut self, port: &str, message: MessageValue) -> Result<(), String> {
        let Some(content) = message.message.clone() else { return Ok(()) };
        let mut properties = self.rules.promote(&content);
        properties.set("port.name", port);
        let definition = self.definition.clone();
        let header = content.header();
        let matching: Vec<_> = definition
            .subscriptions()
            .iter()
            .filter(|it| {
                it.port == port && it.takes(&header.message_type, &header.trigger_event, &properties)
            })
            .collect();
        let mut taken = false;
        for at in 0..self.instances.len() {
            let set = matching.iter().filter(|it| it.activates.is_none()).find_map(|it| {
                let set = it.set.as_ref()?;
                let keys = correlation_keys(&definition, set, &properties);
                keys.iter().any(|key| self.instances[at].holds(key)).then(|| set.clone())
            });
            if let Some(set) = set {
                taken = true;
                let event = Event::Message {
                    message: message.clone(),
                    properties: properties.clone(),
                    set: Some(set),
                    ports: vec![port.to_owned()],
                };
                self.raise(at, event)?;
            }
        }
        if let Some(trigger) = matching.iter().find_map(|it| it.activates)
            && !taken
        {
            taken = true;
            self.activate(trigger, message, properties)?;
        }
        if !taken {
            self.seen.push(Seen { what: What::NotRouted, expected: false });
        }
        Ok(())
    }

    fn activate(
        &mut self,
        trigger: usize,
        message: MessageValue,
        properties: Properties,
    ) -> Result<(), String> {
        let event = Event::Activate { trigger, message, properties };
        self.create(event)
    }

    fn start(&mut self, mut with: IndexMap<String, Value>) -> Result<(), String> {
        for value in with.values_mut() {
            if let Value::Message(message) = value
                && message.id.is_none()
            {
                let id = self.new_id();
                message.id = Some(id);
                if let Some(content) = &message.message {
                    self.messages.insert(id, content.clone());
                }
            }
        }
        self.create(Event::Called { inputs: with })
    }

    fn create(&mut self, event: Event) -> Result<(), String> {
        let id = self.new_id();
        self.instances.push(Instance {
            id,
            state: Stored::Bytes(Vec::new()),
            turn: 0,
            next: Next::Waiting { text: String::new() },
            timers: Vec::new(),
            keys: Vec::new(),
            tasks: Vec::new(),
            sends: Vec::new(),
        });
        self.raise(self.instances.len() - 1, event)
    }

    /// Gives an event to an instance and does what the turn asks for.
    pub(super) fn raise(&mut self, at: usize, event: Event) -> Result<(), String> {
        let turn = self.turn(at, event)?;
        for entry in &turn.steps {
            self.covered.insert(entry.path.to_string());
            if entry.outcome.starts_with("raised ") {
                let said: Vec<&str> = entry.sensitive.iter().map(|detail| detail.value.as_str()).collect();
                self.last_error = said.join("; ");
            }
        }
        let ended = matches!(turn.next, Next::Completed { .. } | Next::Terminated { .. });
        let instance = &mut self.instances[at];
        instance.turn += 1;
        instance.next = turn.next;
        instance.state = if self.crashing {
            Stored::Bytes(turn.state.encode())
        } else {
            Stored::Memory(Box::new(turn.state))
        };
        let mut written = Vec::new();
        for effect in turn.effects {
            self.apply(at, effect, &mut written);
        }
        if ended {
            let instance = &mut self.instances[at];
            instance.timers.clear();
            instance.keys.clear();
            instance.tasks.clear();
            instance.sends.clear();
        }
        for id in turn.leftovers {
            match (self.came_by.get(&id).cloned(), self.messages.get(&id).cloned()) {
                (Some(port), Some(message)) if ended => {
                    self.route(&port, MessageValue::stored(id, message))?
                }
                _ => self.note(What::NotRouted),
            }
        }
        for send in written {
            let now = self.now;
            self.raise(at, Event::Sent { send, at: now })?;
        }
        Ok(())
    }

    /// Runs a turn; with crashes, twice from the stored bytes, which must give the same.
    fn turn(&mut self, at: usize, event: Event) -> Result<Turn, String> {
        let first_id = self.last_id;
        let turn = self.turn_once(at, event.clone())?;
        if !self.crashing {
            return Ok(turn);
        }
        self.last_id = first_id;
        let again = self.turn_once(at, event)?;
        if turn.state != again.state || turn.effects != again.effects || turn.next != again.next {
            return Err("a repeated turn gave something else".to_owned());
        }
        let decoded = State::decode(&again.state.encode()).map_err(|error| error.to_string())?;
        if decoded != again.state {
            return Err("the stored state reads back as something else".to_owned());
        }
        Ok(again)
    }

    fn turn_once(&mut self, at: usize, event: Event) -> Result<Turn, String> {
        let instance = &self.instances[at];
        let state = match &instance.state {
            Stored::Memory(state) => Some(State::clone(state)),
            Stored::Bytes(bytes) if bytes.is_empty() => None,
            Stored::Bytes(bytes) => {
                let mut state = State::decode(bytes).map_err(|error| error.to_string())?;
                let missing = state.attach(&self.messages);
                if !missing.is_empty() {
                    return Err(format!("the state refers to messages that nobody stored: {missing:?}"));
                }
                Some(state)
            }
        };
        let (id, turn) = (instance.id, instance.turn + 1);
        let others: Vec<CorrelationKey> = self
            .instances
            .iter()
            .filter(|other| other.id != id)
            .flat_map(|other| other.keys.clone())
            .collect();
        let held = |key: &CorrelationKey| others.contains(key);
        let mut last_id = self.last_id;
        let mut new_message_id = || {
            last_id += 1;
            last_id
        };
        let turn = crate::turn(
            &self.definition,
            state,
            event,
            &mut TurnContext {
                now: self.now,
                instance: id,
                turn,
                rules: self.rules,
                settings: &self.settings,
                new_message_id: &mut new_message_id,
                time: crate::TURN_TIME,
                held: Some(&held),
            },
        );
        self.last_id = last_id;
        Ok(turn)
    }

    fn note(&mut self, what: What) {
        self.seen.push(Seen { what, expected: false });
    }

    fn apply(&mut self, at: usize, effect: Effect, written: &mut Vec<u32>) {
        match effect {
            Effect::Store { message_id, message, .. } => {
                self.messages.insert(message_id, message);
            }
            Effect::Publish { message_id, message, .. } => {
                self.messages.extend(message.map(|message| (message_id, message)));
                let message = self.messages[&message_id].clone();
                self.note(What::Sent { port: "message box".to_owned(), message });
            }
            Effect::Acknowledge { code, text, path, .. } => {
                self.note(What::Acknowledged { code, text, path });
            }
            Effect::Send { send, message_id, message, port, expect, .. } => {
                self.messages.extend(message.map(|message| (message_id, message)));
                if let Some(message) = self.messages.get(&message_id).cloned() {
                    self.note(What::Sent { port: port.clone(), message });
                } else {
                    self.failures.push(format!("message {message_id} was sent but never stored"));
                }
                if let Some(expect) = expect {
                    written.push(send);
                    let open = OpenSend { send, port, message: message_id, expect };
                    self.instances[at].sends.push(open);
                }
            }
            Effect::WithdrawExpectation { send } => self.instances[at].sends.retain(|open| open.send != send),
            Effect::SetTimer { token, at: due } => self.instances[at].timers.push((token, due)),
            Effect::CancelTimer { token } => self.instances[at].timers.retain(|(known, _)| *known != token),
            Effect::OpenCorrelation { set, values, .. } => {
                self.instances[at].keys.push(CorrelationKey { set, values });
            }
            Effect::CreateTask(task) => {
                self.note(What::Task(task.clone()));
                self.instances[at].tasks.push(OpenTask { task: *task, votes: Vec::new() });
            }
            Effect::ReassignTask { task, role } => {
                if let Some(open) = self.instances[at].tasks.iter_mut().find(|open| open.task.task == task) {
                    open.task.roles = vec![role];
                }
            }
            Effect::PrioritiseTask { task, priority } => {
                if let Some(open) = self.instances[at].tasks.iter_mut().find(|open| open.task.task == task) {
                    open.task.priority = priority;
                }
            }
            Effect::WithdrawTask { task, .. } => {
                self.instances[at].tasks.retain(|open| open.task.task != task)
            }
            Effect::Email { to_roles, to_users, subject, body, .. } => {
                self.note(What::Email { to_roles, to_users, text: format!("{subject}\n{body}") });
            }
            Effect::Start { orchestration, .. } => self.note(What::Started { orchestration }),
            Effect::Milestone { name, .. } => self.note(What::Milestone { name }),
        }
    }

    /// Lets time pass; timers fire at their instants, in order.
    fn advance(&mut self, length: TimeDelta) -> Result<(), String> {
        let end = self.now + length;
        loop {
            let due = self.instances.iter().enumerate().flat_map(|(at, instance)| {
                instance.timers.iter().map(move |(token, due)| (*due, at, *token))
            });
            let Some((due, at, token)) = due.min().filter(|(due, ..)| *due <= end) else { break };
            self.now = self.now.max(due);
            self.instances[at].timers.retain(|(known, _)| *known != token);
            self.raise(at, Event::Timer { token })?;
        }
        self.now = end;
        Ok(())
    }
}

impl Instance {
    fn holds(&self, key: &CorrelationKey) -> bool {
        self.keys.contains(key)
    }
}
