//! `ai_insights` and `contextual_analysis`: what the rules find, and a model's explanation of it where one is
//! configured. Whatever happens to the model, the rules' findings are there.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::question::Question;
use super::seen::Seen;
use super::trust::Trust;
use super::why::{self, Why};
use super::{Answer, Context, Outcome, Progress, Reach, answer as written};
use crate::ai::{self, Ability, Talk, Told};
use crate::render::{escape, loss};

/// Tokens of a tool's answer to the model.
const TOKENS: u32 = 2_000;
/// Steps that progress counts up to: requests and calls together.
const STEPS: u32 = 14;

/// The same for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Insight {
    /// Who says it: `rules`, `model`, or `preview` of what would be sent.
    source: &'static str,
    /// In words.
    answer: String,
    /// What the rules found, as `explain_failures` says it.
    #[schemars(with = "Vec<Map<String, Value>>")]
    findings: Value,
    /// What the model looked at.
    #[schemars(with = "Vec<Map<String, Value>>")]
    calls: Value,
    /// The model, and where data went; absent if nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    sent_to: Option<String>,
    query_time: String,
    #[serde(flatten)]
    trust: Trust,
}

/// Findings of the last hour and a given text, explained by at most one request.
pub(super) async fn explain(context: &Context<'_>, question: Question) -> Outcome {
    let why = why::look(context, &Question::default()).await?;
    let mut talk = Talk::new(context.ai);
    // Hidden first what has a kind, so that the text's words meet the same pseudonyms.
    let findings = talk.hidden.hide(&json!({"findings": why.findings}));
    let material = json!({
        "task": "Explain this summary and these findings.",
        "summary": talk.hidden.hide_text(&question.summary_text),
        "findings": findings["findings"],
    });
    report(context, &Progress { done: 1, total: 2, message: "asking the model, if there is one".to_owned() });
    let told = ai::explain(&mut talk, &material).await;
    Ok(insight(context, why, &talk, told))
}

/// A question, answered by a model that calls the reading tools.
pub(super) async fn investigate(context: &Context<'_>, question: Question) -> Outcome {
    let scope = Question { query: String::new(), duration: 0, ..question.clone() };
    let why = why::look(context, &scope).await?;
    let mut talk = Talk::new(context.ai);
    let seen = Seen::look(context.client).await.names;
    talk.hidden.learn(seen.iter().map(String::as_str));
    let mut asked = talk.hidden.hide(&json!({"process_name": question.process_name, "pid": question.pid}));
    asked["duration"] = question.duration.into();
    asked["question"] = talk.hidden.hide_question(&question.query).into();
    let findings = talk.hidden.hide(&json!({"findings": why.findings}));
    asked["findings"] = findings["findings"].clone();

    let reading: Vec<_> = super::TOOLS.iter().filter(|tool| tool.reach == Reach::Read).collect();
    let abilities: Vec<_> = reading
        .iter()
        .map(|tool| Ability {
            name: tool.name,
            description: tool.description,
            arguments: tool.input_schema(),
        })
        .collect();
    let inner = Context { tokens: Some(TOKENS), progress: &|_| {}, ..*context };
    let call = |name: String, arguments: Map<String, Value>| {
        let (inner, tool) = (&inner, super::find(&name));
        async move {
            let tool = tool.ok_or_else(|| "there is no such tool".to_owned())?;
            tool.call(inner, arguments).await.map(|answer| answer.value).map_err(|error| error.to_string())
        }
    };
    let mut done = 0;
    let step = |message: &str| {
        done += 1;
        report(context, &Progress { done, total: STEPS, message: message.to_owned() });
    };
    let told = ai::investigate(&mut talk, &asked, &abilities, call, step).await;
    Ok(insight(context, why, &talk, told))
}

fn report(context: &Context<'_>, step: &Progress) {
    if context.ai.destination().is_some() {
        (context.progress)(step);
    }
}

fn insight(context: &Context<'_>, why: Why, talk: &Talk<'_>, told: Told) -> Answer {
    let rules = why::findings_in_words(&why);
    let Why { findings, query_time, mut trust, .. } = why;
    let (source, answer) = match told {
        Told::Off => {
            trust.note(
                "No model is asked: these are the rules' findings. To have one explain them, set OPENAI_API_KEY, or \
                 OPENAI_BASE_URL for a server of your own; --ai-preview shows what would be sent."
                    .to_owned(),
            );
            ("rules", rules)
        }
        Told::Failed(reason) => {
            trust.note(format!("The model gave no answer ({reason}): these are the rules' findings."));
            ("rules", rules)
        }
        Told::Preview(payload) => {
            trust.note("Nothing was sent: this is the exact payload of the first request.".to_owned());
            ("preview", payload)
        }
        Told::Answer(words) => ("model", words),
    };
    let was_asked = source == "model";
    let named = |value: Option<&str>| value.filter(|_| was_asked).map(str::to_owned);
    let (model, sent_to) = (named(context.ai.model()), named(context.ai.destination()));
    let calls: Vec<_> =
        talk.calls.iter().map(|call| json!({"tool": call.tool, "arguments": call.arguments})).collect();
    let mut lines: Vec<_> = answer.lines().map(|line| escape::text(line).into_owned()).collect();
    if let (Some(model), Some(sent_to)) = (&model, &sent_to) {
        lines.push(format!("  Explained by {} at {}.", escape::text(model), escape::text(sent_to)));
    }
    let remarks = trust.lines(loss::COUNTS);
    let findings = serde_json::to_value(findings).unwrap_or_default();
    let calls = Value::Array(calls);
    written(lines, remarks, &Insight { source, answer, findings, calls, model, sent_to, query_time, trust })
}
