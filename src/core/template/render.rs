//! What is to be done, done.

use super::functions::call;
use super::parser::{Block, Command, Kind, Node, Operand, Pipeline, What};
use super::value::Value;
use super::{Keys, TemplateError};

pub(super) fn render(nodes: &[Node], dot: &Value, keys: &Keys) -> Result<String, TemplateError> {
    let variables = vec![(String::new(), dot.clone())];
    let mut work = Work { keys, variables, text: String::new() };
    work.nodes(nodes, dot)?;
    Ok(work.text)
}

struct Work<'a> {
    keys: &'a Keys,
    /// The innermost last; `$` is the first.
    variables: Vec<(String, Value)>,
    text: String,
}

impl Work<'_> {
    /// What is made within ends with it.
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let outer = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(text) => self.text.push_str(text),
                Node::Print(line, value) => {
                    let value = self.value(value, dot).map_err(at(*line))?;
                    self.text.push_str(&value.to_string());
                }
                Node::Set { line, name, new, value } => {
                    let value = self.value(value, dot).map_err(at(*line))?;
                    self.set(name, *new, value).map_err(at(*line))?;
                }
                Node::Block(block) => self.block(block, dot)?,
            }
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn set(&mut self, name: &str, new: bool, value: Value) -> Result<(), String> {
        if new {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        known.ok_or_else(|| format!("there is no variable ${name}"))?.1 = value;
        Ok(())
    }

    fn block(&mut self, block: &Block, dot: &Value) -> Result<(), TemplateError> {
        let Block { line, kind, names, over, body, otherwise } = block;
        let value = self.value(over, dot).map_err(at(*line))?;
        let outer = self.variables.len();
        match (kind, &value) {
            (Kind::Range, Value::List(list)) if !list.is_empty() => {
                for (index, each) in (0..).zip(list) {
                    let made = [Value::Int(index), each.clone()];
                    let skipped = made.len() - names.len();
                    self.variables
                        .extend(names.iter().cloned().zip(made.into_iter().skip(skipped)));
                    self.nodes(body, each)?;
                    self.variables.truncate(outer);
                }
            }
            (Kind::Range, Value::List(_)) => self.nodes(otherwise, dot)?,
            (Kind::Range, other) => {
                return Err(at(*line)(format!("range needs a list, and this is {}", other.kind())));
            }
            (Kind::If | Kind::With, _) => {
                self.variables.extend(names.iter().map(|name| (name.clone(), value.clone())));
                let inner = if *kind == Kind::With { &value } else { dot };
                if value.is_true() {
                    self.nodes(body, inner)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
                self.variables.truncate(outer);
            }
        }
        Ok(())
    }

    fn value(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut piped = None;
        for command in pipeline {
            piped = Some(self.command(command, dot, piped)?);
        }
        piped.ok_or_else(|| "a value is missing".to_owned())
    }

    fn command(
        &self,
        command: &Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let [first, rest @ ..] = command.as_slice() else {
            return Err("a value is missing".into());
        };
        let function = match &first.what {
            What::Function(name) => name,
            _ if rest.is_empty() && piped.is_none() => return self.operand(first, dot),
            _ => return Err("arguments are given to what is no function".to_owned()),
        };
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        fields(call(function, &arguments, self.keys)?, &first.fields)
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let value = match &operand.what {
            What::Dot => dot.clone(),
            What::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.ok_or_else(|| format!("there is no variable ${name}"))?.1.clone()
            }
            What::Text(text) => Value::Text(text.clone()),
            What::Int(number) => Value::Int(*number),
            What::Bool(value) => Value::Bool(*value),
            What::Function(name) => call(name, &[], self.keys)?,
            What::Inner(pipeline) => self.value(pipeline, dot)?,
        };
        fields(value, &operand.fields)
    }
}

fn fields(value: Value, fields: &[String]) -> Result<Value, String> {
    fields.iter().try_fold(value, |value, field| value.field(field))
}

fn at(line: usize) -> impl Fn(String) -> TemplateError {
    move |what| TemplateError { line, what }
}
