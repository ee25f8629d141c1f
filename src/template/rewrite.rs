//! Changes to a parsed template before it runs.
//!
//! - `.A.b`, `$x.A.b`, `(f).A.b` become calls of [`ACCESS`], which knows absent labels and methods.
//! - What an action prints passes through [`PRINT`], which prints as Go does.
//! - What reaches a built-in that stringifies its arguments passes through [`PLAIN`], which bounds it, or for `%v` of
//!   `printf` through [`TEXT`], which prints as Go does.
//! - A `{{template}}` call passes its argument through [`STEP`], which counts: a template that calls itself twice
//!   would otherwise run for ever within the recursion limit.
//!
//! The functions' names hold a space, so no template can name them.

use std::collections::BTreeSet;
use std::sync::Arc;

use gotmpl::Template;
use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, PipeNode, Pos, SmolStr};

use super::functions;

/// Where the rewritten body is kept among the named templates.
pub(super) const MAIN: &str = " main";
/// `access value "A.b" args...`
pub(super) const ACCESS: &str = " access";
/// `print value`
pub(super) const PRINT: &str = " print";
/// `plain value`
pub(super) const PLAIN: &str = " plain";
/// `text value`: a number, list or map as text
pub(super) const TEXT: &str = " text";
/// `step` or `step value`
pub(super) const STEP: &str = " step";

/// Go's own functions, which `gotmpl` brings.
const BUILT_IN: [&str; 19] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", "urlquery",
];
/// Built-ins that turn their arguments into text.
const STRINGIFYING: [&str; 4] = ["html", "js", "printf", "urlquery"];

/// Put behind every template: the parser takes an `end` too many for the end of the text, and this is then missing.
pub(super) const SENTINEL: &str = "{{\" end\"}}";
const SENTINEL_TEXT: &str = " end";

/// What `gotmpl` accepts and Go does not.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("function {0:?} not defined")]
    UndefinedFunction(String),
    #[error("unexpected {{{{end}}}} or {{{{else}}}}")]
    UnexpectedEnd,
}

/// The template with every tree rewritten; its body is the named template [`MAIN`].
pub(super) fn rewrite(template: Template) -> Result<Template, Refusal> {
    let known: BTreeSet<&str> = BUILT_IN.into_iter().chain(functions::NAMES).collect();
    let rewriter = Rewriter { known };
    let own_name = template.name().to_owned();
    let names: Vec<String> = template.templates().into_iter().map(str::to_owned).collect();
    let mut rewritten = template;
    for name in names {
        let Some(tree) = rewritten.lookup(&name) else { continue };
        let mut tree = tree.clone();
        if name == own_name && !tree.nodes.pop().is_some_and(|last| is_sentinel(&last)) {
            return Err(Refusal::UnexpectedEnd);
        }
        let tree = rewriter.list(tree)?;
        if name == own_name {
            rewritten = rewritten.add_parse_tree(MAIN, tree.clone());
        }
        rewritten = rewritten.add_parse_tree(&name, tree);
    }
    Ok(rewritten)
}

fn is_sentinel(node: &Node) -> bool {
    let Node::Action(action) = node else { return false };
    let [command] = action.pipe.commands.as_slice() else { return false };
    matches!(command.args.as_slice(), [Expr::String(_, text)] if **text == *SENTINEL_TEXT)
}

struct Rewriter {
    known: BTreeSet<&'static str>,
}

impl Rewriter {
    fn list(&self, list: ListNode) -> Result<ListNode, Refusal> {
        let nodes = list.nodes.into_iter().map(|node| self.node(node)).collect::<Result<_, _>>()?;
        Ok(ListNode { pos: list.pos, nodes })
    }

    fn node(&self, node: Node) -> Result<Node, Refusal> {
        Ok(match node {
            Node::List(list) => Node::List(self.list(list)?),
            Node::Action(mut action) => {
                action.pipe = self.pipe(action.pipe)?;
                if action.pipe.decl.is_empty() {
                    action.pipe.commands.push(call(action.pos, PRINT, Vec::new()));
                }
                Node::Action(action)
            }
            Node::If(branch) => Node::If(self.branch(branch)?),
            Node::Range(branch) => Node::Range(self.branch(branch)?),
            Node::With(branch) => Node::With(self.branch(branch)?),
            Node::Template(mut invocation) => {
                let pos = invocation.pos;
                let mut pipe = match invocation.pipe {
                    Some(pipe) => self.pipe(pipe)?,
                    None => PipeNode { pos, decl: Vec::new(), commands: Vec::new(), is_assign: false },
                };
                pipe.commands.push(call(pos, STEP, Vec::new()));
                invocation.pipe = Some(pipe);
                Node::Template(invocation)
            }
            Node::Define(_) | Node::Text(_) | Node::Break(_) | Node::Continue(_) => node,
        })
    }

    fn branch(&self, branch: BranchNode) -> Result<BranchNode, Refusal> {
        Ok(BranchNode {
            pos: branch.pos,
            pipe: self.pipe(branch.pipe)?,
            body: self.list(branch.body)?,
            else_body: branch.else_body.map(|body| self.list(body)).transpose()?,
        })
    }

    fn pipe(&self, mut pipe: PipeNode) -> Result<PipeNode, Refusal> {
        let mut commands = Vec::with_capacity(pipe.commands.len());
        for command in pipe.commands {
            if !commands.is_empty()
                && let Some(stringifying) = Stringifying::of(&command)
            {
                let last = command.args.len() - 1;
                commands.push(call(command.pos, stringifying.preparation(last), Vec::new()));
            }
            commands.push(self.command(command)?);
        }
        pipe.commands = commands;
        Ok(pipe)
    }

    fn command(&self, command: CommandNode) -> Result<CommandNode, Refusal> {
        let (pos, stringifying) = (command.pos, Stringifying::of(&command));
        let mut operands = command.args.into_iter();
        let Some(first) = operands.next() else { return Ok(CommandNode { pos, args: Vec::new() }) };
        let rest = operands.enumerate().map(|(at, operand)| {
            let operand = self.operand(operand)?;
            Ok(match &stringifying {
                Some(built_in) => nested(pos, call(pos, built_in.preparation(at), vec![operand])),
                None => operand,
            })
        });
        let rest: Vec<Expr> = rest.collect::<Result<_, _>>()?;
        // A field in a command's first place takes the other operands, and what is piped in, as a method's arguments.
        Ok(match self.split(first)? {
            Split::Whole(expr) => CommandNode { pos, args: std::iter::once(expr).chain(rest).collect() },
            Split::Access(receiver, path) => {
                let mut access = call(pos, ACCESS, vec![receiver, path]);
                access.args.extend(rest);
                access
            }
        })
    }

    fn operand(&self, expr: Expr) -> Result<Expr, Refusal> {
        let pos = expr.pos();
        Ok(match self.split(expr)? {
            Split::Whole(expr) => expr,
            Split::Access(receiver, path) => nested(pos, call(pos, ACCESS, vec![receiver, path])),
        })
    }

    fn split(&self, expr: Expr) -> Result<Split, Refusal> {
        Ok(match expr {
            Expr::Field(pos, names) => Split::Access(Expr::Dot(pos), path(pos, &names)),
            Expr::Variable(pos, variable, names) if !names.is_empty() => {
                Split::Access(Expr::Variable(pos, variable, Vec::new()), path(pos, &names))
            }
            Expr::Chain(pos, inner, names) => Split::Access(self.operand(*inner)?, path(pos, &names)),
            Expr::Pipe(pos, pipe) => Split::Whole(Expr::Pipe(pos, self.pipe(pipe)?)),
            Expr::Identifier(_, ref name) if !self.known.contains(name.as_str()) => {
                return Err(Refusal::UndefinedFunction(name.to_string()));
            }
            other => Split::Whole(other),
        })
    }
}

enum Split {
    Whole(Expr),
    Access(Expr, Expr),
}

/// A call of a built-in that turns its arguments into text: the verbs of `printf`'s format, where they are plain.
struct Stringifying {
    verbs: Vec<char>,
}

impl Stringifying {
    fn of(command: &CommandNode) -> Option<Self> {
        let Some(Expr::Identifier(_, name)) = command.args.first() else { return None };
        if !STRINGIFYING.contains(&name.as_str()) {
            return None;
        }
        let verbs = match command.args.get(1) {
            Some(Expr::String(_, format)) if name == "printf" => verbs(format),
            _ => Vec::new(),
        };
        Some(Self { verbs })
    }

    /// What the operand in place `at` passes through; `printf`'s format has place 0.
    fn preparation(&self, at: usize) -> &'static str {
        match at.checked_sub(1).and_then(|at| self.verbs.get(at)) {
            Some('v') => TEXT,
            _ => PLAIN,
        }
    }
}

/// The verb each argument of a format is printed with; none if it counts its arguments itself (`*`, `[2]`).
fn verbs(format: &str) -> Vec<char> {
    let mut verbs = Vec::new();
    let mut rest = format.chars();
    while rest.by_ref().any(|c| c == '%') {
        match rest.by_ref().find(|c| !matches!(c, '-' | '+' | ' ' | '#' | '.' | '0'..='9')) {
            Some('*' | '[') => return Vec::new(),
            Some('%') | None => {}
            Some(verb) => verbs.push(verb),
        }
    }
    verbs
}

fn call(pos: Pos, function: &'static str, operands: Vec<Expr>) -> CommandNode {
    let name = Expr::Identifier(pos, SmolStr::new_static(function));
    CommandNode { pos, args: std::iter::once(name).chain(operands).collect() }
}

fn nested(pos: Pos, command: CommandNode) -> Expr {
    Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands: vec![command], is_assign: false })
}

/// The names as one string: identifiers hold no full stop.
fn path(pos: Pos, names: &[SmolStr]) -> Expr {
    let names: Vec<&str> = names.iter().map(SmolStr::as_str).collect();
    Expr::String(pos, Arc::from(names.join(".")))
}
