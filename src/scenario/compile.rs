//! From a case to a plan: resolves references, decides conditions, spells out compound ops.
//!
//! It performs nothing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use super::hold::Compound;
use super::{Case, Condition, PreconditionText, Problem, Scenario, StepText};
use crate::plan::{Made, Op, Plan, Role, SocketKind, SocketOption, Step};
use crate::scenario::witness::{Precondition, WitnessTime};
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, LocalPort, Need, Os, PortChoice, User};
use crate::words::near::did_you_mean;
use crate::words::problem::listed;

type Value = Spanned<DeValue<'static>>;

/// A case ready to be sent, and what its answers will be held against.
#[derive(Debug)]
pub struct Compiled {
    /// What to send to a worker: no expectation is in it.
    pub plan: Plan,
    /// What the host must offer.
    pub needs: Vec<Need>,
    /// The calls under test, in the order in which they are made.
    pub subjects: Vec<SubjectCall>,
}

/// One call under test.
#[derive(Debug)]
pub struct SubjectCall {
    /// Index into the plan's steps.
    pub step: u32,
    /// Index into the scenario's subjects.
    pub subject: usize,
    /// 1 for the first call under test of the case, and so on.
    pub ordinal: u32,
    /// Which call it is.
    pub call: Call,
    /// Whether it finds its source port, or the kernel picks one.
    pub port: PortChoice,
    /// What makes it.
    pub socket: SocketKind,
    /// What it runs into.
    pub cause: Cause,
    /// What must hold around it, and when.
    pub preconditions: Vec<(WitnessTime, Precondition)>,
    /// Why there is no precondition, where there is none; every case of a checked scenario has either.
    pub unwitnessed: Option<Arc<str>>,
}

/// References may lead to values that hold references; this deep and no deeper.
const REFERENCE_DEPTH: usize = 8;

/// Values that one case may be made of: a value that holds references to values can be much from little.
const MOST_VALUES: usize = 20_000;

/// The plan of a case on an OS, with references resolved, conditions decided and compound ops spelled out.
///
/// # Errors
///
/// The first thing in the file that this case cannot be made of, with its place. A scenario that
/// [`check`](super::check()) finds nothing in compiles in every case.
pub fn compile(scenario: &Scenario, case: &Case, os: Os) -> Result<Compiled, Problem> {
    compile_within(scenario, case, os, &mut { MOST_VALUES })
}

/// Takes from `values` as many as the case is made of; a fault where these, or those of one case, do not suffice.
pub fn compile_within(scenario: &Scenario, case: &Case, os: Os, values: &mut usize) -> Result<Compiled, Problem> {
    let most = MOST_VALUES.min(*values);
    let compiler = Compiler { scenario, case, os, values: Cell::new(most) };
    let compiled = compiler.compile();
    *values -= most - compiler.values.get();
    compiled
}

struct Compiler<'s> {
    scenario: &'s Scenario,
    case: &'s Case,
    os: Os,
    /// How many more it may be made of.
    values: Cell<usize>,
}

impl Compiler<'_> {
    fn compile(&self) -> Result<Compiled, Problem> {
        let mut steps = Vec::new();
        let mut subjects: Vec<SubjectCall> = Vec::new();
        for text in &self.scenario.setup {
            self.setup(text, None, &mut steps)?;
        }
        for (index, subject) in self.scenario.subjects.iter().enumerate() {
            if !self.applies(&subject.step) {
                continue;
            }
            let requires = match &subject.after {
                None => None,
                // Where the earlier call is not made in this case, this one is not either.
                Some(_) => match subjects.iter().rfind(|earlier| Some(earlier.subject) == self.scenario.earlier(index))
                {
                    Some(earlier) => Some(earlier.step),
                    None => continue,
                },
            };
            for text in &subject.before {
                self.setup(text, requires, &mut steps)?;
            }
            let mut ops = self.ops(&subject.step)?;
            let span = subject.step.span.clone();
            let (Some(op), true) = (ops.pop(), ops.is_empty()) else {
                return Err(self.problem(span, "a subject is one call, not a compound op"));
            };
            let Some(call) = op.call() else {
                return Err(self.problem(span, format!("`{}` is no call that can be a subject", subject.name())));
            };
            let Some(socket) = kind(&steps, &op) else {
                return Err(self.unmade(op.socket().unwrap_or_default(), ops_of(&steps), &subject.step.op));
            };
            let mut preconditions = Vec::new();
            for text in self.scenario.preconditions.iter().chain(&subject.preconditions) {
                let precondition = self.precondition(text)?;
                if let Some((_, Precondition::Socket { socket, .. } | Precondition::Unix { socket, .. })) =
                    &precondition
                {
                    self.is_made(socket, ops_of(&steps).chain([&op]), &text.what)?;
                }
                preconditions.extend(precondition);
            }
            let cause = subject.cause.as_ref().unwrap_or(&self.scenario.cause);
            let why = subject.unwitnessed.as_ref().filter(|_| preconditions.is_empty());
            subjects.push(SubjectCall {
                step: steps.len() as u32,
                subject: index,
                ordinal: subjects.len() as u32 + 1,
                call,
                socket,
                port: match socket {
                    SocketKind::Ip(_) => port_choice(&steps, call, &op),
                    SocketKind::Unix(_) => PortChoice::None,
                },
                cause: self.parse(cause)?,
                preconditions: preconditions.clone(),
                unwitnessed: why.map(|why| why.get_ref().clone()),
            });
            let queries = preconditions.iter().filter_map(|(_, precondition)| precondition.query()).collect();
            steps.push(Step { op, user: self.user(&subject.step)?, role: Role::Subject { queries, requires } });
        }
        Ok(Compiled {
            plan: Plan {
                case: self.case.id.clone(),
                number: 0,
                deadline_ms: self.scenario.deadline_ms,
                patience: 1,
                steps,
            },
            needs: self.scenario.needs(self.case).collect(),
            subjects,
        })
    }

    fn setup(&self, text: &StepText, requires: Option<u32>, steps: &mut Vec<Step>) -> Result<(), Problem> {
        if !self.applies(text) {
            return Ok(());
        }
        let user = self.user(text)?;
        let names = |errnos: &[String]| errnos.iter().filter_map(|errno| ErrnoName::new(errno)).collect();
        for op in self.ops(text)? {
            if !op.makes().is_some_and(Made::is_new)
                && let Some(socket) = op.socket()
            {
                self.is_made(socket, ops_of(steps), &text.op)?;
            }
            steps.push(Step {
                op,
                user,
                role: Role::Setup { permit: names(&text.permit), unsupported: names(&text.unsupported), requires },
            });
        }
        Ok(())
    }

    /// Whether some of these ops makes a socket of that name.
    fn is_made<'o>(
        &self,
        name: &str,
        mut ops: impl Iterator<Item = &'o Op> + Clone,
        place: &Value,
    ) -> Result<(), Problem> {
        // Of every op of every case, at each start.
        let all = ops.clone();
        if ops.any(|op| op.makes().is_some_and(|made| made.socket() == name)) {
            Ok(())
        } else {
            Err(self.unmade(name, all, place))
        }
    }

    /// That none does, and which they make.
    fn unmade<'o>(&self, name: &str, ops: impl Iterator<Item = &'o Op>, place: &Value) -> Problem {
        let made: BTreeSet<&str> = ops.filter_map(|op| op.makes().map(Made::socket)).collect();
        let meant = did_you_mean(name, made.iter().copied()).unwrap_or_default();
        let message = format!("no op before this call makes a socket `{name}`{meant}");
        let mut problem = self.problem(socket_of(place), message);
        problem.help = Some(match made.is_empty() {
            true => "`open`, `serve`, `hold`, `socket` and `accept` make one".to_owned(),
            false => format!("in `{}` there are {}", self.case.id, made.into_iter().collect::<Vec<_>>().join(", ")),
        });
        problem
    }

    fn applies(&self, text: &StepText) -> bool {
        self.is_for(text.os, text.when.as_ref())
    }

    fn is_for(&self, os: Option<Os>, when: Option<&Condition>) -> bool {
        os.is_none_or(|os| os == self.os) && when.is_none_or(|when| when.holds(self.scenario, self.case))
    }

    fn user(&self, text: &StepText) -> Result<Option<User>, Problem> {
        text.user.as_ref().map(|user| self.parse(user)).transpose()
    }

    fn ops(&self, text: &StepText) -> Result<Vec<Op>, Problem> {
        if Compound::NAMES.contains(&text.name()) {
            let compound: Compound = self.parse(&text.op)?;
            return compound.expand(self.os).map_err(|why| self.problem(text.span.clone(), why.to_string()));
        }
        self.parse(&text.op).map(|op| vec![op]).map_err(|mut problem| {
            let unknown = format!("unknown variant `{}`", text.name());
            // A variant may be one inside of the op as well.
            if let Some(rest) = problem.message.strip_prefix(&unknown) {
                let meant = did_you_mean(text.name(), Compound::NAMES.iter().copied());
                problem.message = format!("unknown op `{}`{}", text.name(), meant.as_deref().unwrap_or(rest));
                problem.help = Some(format!("the compound ops are {}", Compound::NAMES.join(", ")));
            }
            problem
        })
    }

    fn precondition(&self, text: &PreconditionText) -> Result<Option<(WitnessTime, Precondition)>, Problem> {
        if !self.is_for(text.os, text.when.as_ref()) {
            return Ok(None);
        }
        Ok(Some((text.at, self.parse(&text.what)?)))
    }

    /// Resolves the references of a value and reads it as a `T`.
    fn parse<T: for<'de> Deserialize<'de>>(&self, value: &Value) -> Result<T, Problem> {
        let value = self.resolve(value, 0)?;
        let whole = value.span();
        // What is wrong with a table as such is told of its entry, which has a place of its own.
        let entry =
            value.get_ref().as_table().and_then(|table| table.values().next()).map_or(whole.clone(), Spanned::span);
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| {
            let place = error.span().filter(|place| *place != whole).unwrap_or(entry);
            self.problem(place, crate::words::problem::message(&error))
        })
    }

    /// Replaces each string `$name` by the value of that axis, or by the first row of that table that applies.
    fn resolve(&self, value: &Value, depth: usize) -> Result<Value, Problem> {
        let span = value.span();
        let Some(left) = self.values.get().checked_sub(1) else {
            let mut problem = self.problem(span, "too many values once references are resolved");
            problem.help = Some(format!(
                "at most {MOST_VALUES} a case, and a limit for all cases: references to arrays of references multiply"
            ));
            return Err(problem);
        };
        self.values.set(left);
        let resolved = match value.get_ref() {
            DeValue::String(text) => match text.strip_prefix('$') {
                Some(name) => return self.lookup(name, span, depth),
                None => DeValue::String(text.clone()),
            },
            DeValue::Array(array) => {
                let mut resolved = toml::de::DeArray::new();
                for element in array.iter() {
                    resolved.push(self.resolve(element, depth)?);
                }
                DeValue::Array(resolved)
            }
            DeValue::Table(table) => {
                let mut resolved = toml::de::DeTable::new();
                for (key, value) in table {
                    resolved.insert(key.clone(), self.resolve(value, depth)?);
                }
                DeValue::Table(resolved)
            }
            scalar => scalar.clone(),
        };
        Ok(Spanned::new(span, resolved))
    }

    fn lookup(&self, name: &str, span: Range<usize>, depth: usize) -> Result<Value, Problem> {
        if depth == REFERENCE_DEPTH {
            return Err(self.problem(span, format!("`${name}` refers to itself")));
        }
        if let Some(value) = self.case.value(name) {
            return Ok(Spanned::new(span, DeValue::String(value.to_owned().into())));
        }
        let Some((_, rows)) = self.scenario.values.iter().find(|(value, _)| value.get_ref() == name) else {
            let axes = self.scenario.axes.iter().map(|axis| axis.name.get_ref().as_str());
            let known = listed(axes.chain(self.scenario.values.iter().map(|(name, _)| name.get_ref().as_str())));
            let names = self.scenario.axes.iter().map(|axis| &axis.name);
            let names = names.chain(self.scenario.values.iter().map(|(name, _)| name)).map(|name| &**name.get_ref());
            let meant = did_you_mean(name, names).unwrap_or_default();
            let mut problem = self.problem(span, format!("unknown reference `${name}`{meant}"));
            problem.help = Some(format!("expected an axis or a value: {known}"));
            return Err(problem);
        };
        let row = rows.iter().find(|row| row.when.as_ref().is_none_or(|when| when.holds(self.scenario, self.case)));
        match row {
            Some(row) => self.resolve(&row.is, depth + 1),
            None => Err(self.problem(span, format!("no row of `{name}` applies to {}", self.case.id))),
        }
    }

    fn problem(&self, span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem {
            file: self.scenario.file.clone(),
            text: self.scenario.text,
            span,
            message: message.into(),
            help: None,
        }
    }
}

fn ops_of(steps: &[Step]) -> impl Iterator<Item = &Op> + Clone {
    steps.iter().map(|step| &step.op)
}

/// Where the name of an op's socket stands: `{ bind = { socket = "…" } }`.
fn socket_of(op: &Value) -> Range<usize> {
    let arguments = op.get_ref().as_table().and_then(|op| op.values().next());
    let named = arguments.and_then(|arguments| arguments.get_ref().as_table());
    let socket = named.and_then(|named| named.iter().find(|(name, _)| name.get_ref() == "socket"));
    socket.map(|(_, socket)| socket).or(arguments).unwrap_or(op).span()
}

/// The kind of the socket that makes the call, or that the call makes.
fn kind(steps: &[Step], op: &Op) -> Option<SocketKind> {
    let before = ops_of(steps);
    let opens = op.makes().is_some_and(Made::is_new).then_some(op);
    SocketKind::after(&before.chain(opens).collect::<Vec<_>>(), op.socket()?)
}

/// Whether the call finds its source port.
fn port_choice(steps: &[Step], call: Call, op: &Op) -> PortChoice {
    let is_own = |socket: &str| Some(socket) == op.socket();
    // A bind that leaves the port to connect() sets none.
    let deferred = steps.iter().any(|step| {
        matches!(&step.op, Op::SetOption { socket, option: SocketOption::BindAddressNoPort(true) } if is_own(socket))
    });
    // It dissolves an association, and asks for no port.
    if let Op::Disconnect { .. } = op {
        return PortChoice::None;
    }
    let given = |step: &Step| match (&step.op, step.op.makes()) {
        (Op::Bind { socket, port: 0, .. }, _) if is_own(socket) && deferred => Some(LocalPort::Open),
        (Op::Bind { socket, .. }, _) if is_own(socket) => Some(LocalPort::Set),
        (_, Some(Made::Accepted { socket, .. })) if is_own(socket) => Some(LocalPort::Set),
        (_, Some(Made::Accepted { .. } | Made::New { .. } | Made::Unix { .. }) | None) => None,
    };
    let port = if let Op::Bind { port, .. } = op {
        LocalPort::from(*port)
    } else {
        steps.iter().rev().find_map(given).unwrap_or(LocalPort::Open)
    };
    PortChoice::of(call, port)
}
