//! Prompts: the questions that people ask most, put so that a model uses the right tools.

use rmcp::model::{
    ErrorData, GetPromptRequestParams, GetPromptResult, Prompt, PromptArgument, PromptMessage, Role,
};
use serde_json::Value;

use crate::registry;
use crate::render::escape;

/// A question with at most one argument.
struct Template {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    argument: Option<Argument>,
    /// `{}` is the argument.
    text: &'static str,
}

struct Argument {
    name: &'static str,
    description: &'static str,
}

const TEMPLATES: [Template; 4] = [
    Template {
        name: "investigate_process",
        title: "Investigate a process",
        description: "What a process connects to, what fails, and why.",
        argument: Some(Argument { name: "process_name", description: "Name of the process" }),
        text: "Investigate the network activity of the process {}. Call explain_failures and analyze_patterns for it, \
               then list_connections where single events matter. Say what it talks to, what fails and why, and what to \
               do next. Give the ids of the events that you rely on, and say so if `lost` is not 0.",
    },
    Template {
        name: "explain_drops",
        title: "Explain packet drops",
        description: "Which packets the kernel dropped, whose they were, and whether it matters.",
        argument: None,
        text: "Call get_packet_drop_summary with duration 3600, then list_packet_drops for the reasons that matter. Say \
               for each reason what it means, which process it hits, and whether it is a fault or ordinary.",
    },
    Template {
        name: "daily_check",
        title: "Daily check",
        description: "Is the network of this machine in order?",
        argument: None,
        text: "Call get_status, explain_failures with since 1d, and get_network_summary with since 1d. Say in five \
               lines whether the network of this machine is in order, and what to look at, worst first.",
    },
    Template {
        name: "triage_destination",
        title: "Triage a destination",
        description: "Who talks to an address, and does it work?",
        argument: Some(Argument { name: "to", description: "Address or network, such as 10.0.0.0/8" }),
        text: "Call analyze_patterns and explain_failures with to {} and since 1h. Say which processes talk to it, how \
               many attempts fail and how, since when, and whether the fault is on this machine, on the way, or there.",
    },
];

pub(super) fn list() -> Vec<Prompt> {
    let prompts = TEMPLATES.iter().map(|template| {
        let arguments = template.argument.as_ref().map(|argument| {
            let named = PromptArgument::new(argument.name).with_description(argument.description);
            vec![named.with_required(true)]
        });
        Prompt::new(template.name, Some(template.description), arguments).with_title(template.title)
    });
    prompts.collect()
}

pub(super) fn get(request: &GetPromptRequestParams) -> Result<GetPromptResult, ErrorData> {
    let Some(template) = TEMPLATES.iter().find(|template| template.name == request.name) else {
        let known = TEMPLATES.map(|template| template.name);
        let hint = registry::did_you_mean(&request.name, known);
        let message = format!(
            "unknown prompt '{}'{hint}; there are: {}",
            escape::text(&request.name),
            known.join(", ")
        );
        return Err(ErrorData::invalid_params(message, None));
    };
    let text = match &template.argument {
        None => template.text.to_owned(),
        Some(argument) => {
            let given =
                request.arguments.as_ref().and_then(|map| map.get(argument.name)).and_then(Value::as_str);
            let given = given.filter(|given| !given.is_empty()).ok_or_else(|| {
                let message = format!("{} needs {}: {}", template.name, argument.name, argument.description);
                ErrorData::invalid_params(message, None)
            })?;
            template.text.replace("{}", &format!("'{}'", escape::text(given)))
        }
    };
    let message = PromptMessage::new_text(Role::User, text);
    Ok(GetPromptResult::new(vec![message]).with_description(template.description))
}
