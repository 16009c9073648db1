//! `orderly subscriptions` and `orderly route`: who receives what, and why.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use orderly_engine::configuration::Configuration;
use orderly_engine::routing::{self, Means, Subscription};
use orderly_engine::site::{self, Environment};
use orderly_hl7::Message;
use serde_json::json;

use crate::cli;

/// Lists all subscriptions.
///
/// # Errors
///
/// A folder that cannot be read or does not compile.
pub(crate) fn subscriptions(options: &cli::Routing) -> anyhow::Result<ExitCode> {
    let configuration = configuration(options)?;
    for one in routing::subscriptions(&configuration) {
        let conditions = one.conditions();
        if options.json {
            let line =
                json!({ "kind": one.kind, "name": one.name, "means": means(&one), "when": conditions });
            println!("{line}");
        } else {
            let when = if conditions.is_empty() { "every message".to_owned() } else { conditions.join(", ") };
            println!("{} {}: {when}", one.name, means(&one));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows who would receive a message: exit 0 when somebody would, 1 when nobody.
///
/// # Errors
///
/// A folder or a message that cannot be read; a location that the site does not have.
pub(crate) fn route(options: &cli::Route) -> anyhow::Result<ExitCode> {
    let configuration = configuration(&options.routing)?;
    let named = |name: &str| {
        let mut locations = configuration.receive_locations();
        locations.find(|(port, location)| format!("{}/{}", port.name, location.name) == name)
    };
    let location = match &options.location {
        Some(name) => named(name).with_context(|| format!("the site has no receive location `{name}`"))?,
        None => configuration.receive_locations().next().context("the site has no receive location")?,
    };
    let message = Message::parse(read(&options.file)?)
        .with_context(|| format!("{} cannot be read as HL7", options.file.display()))?;
    let routing = routing::route(&configuration, location.0, location.1, &message);
    let subscriptions = routing::subscriptions(&configuration);
    let taken = routing.judged.iter().any(|judged| judged.takes);
    if options.routing.json {
        for judged in &routing.judged {
            let one = &subscriptions[judged.number];
            let failed: Vec<&str> =
                judged.tried.iter().filter(|tried| !tried.holds).map(|tried| tried.text.as_str()).collect();
            println!(
                "{}",
                json!({ "kind": one.kind, "name": one.name, "means": means(one), "takes": judged.takes, "failed": failed })
            );
        }
        return Ok(ExitCode::from(u8::from(!taken)));
    }
    match &routing.party {
        Some(party) => println!("From {party}, by {}/{}.", location.0.name, location.1.name),
        None => println!("From an unknown sender, by {}/{}.", location.0.name, location.1.name),
    }
    for judged in routing.judged.iter().filter(|judged| judged.takes) {
        let one = &subscriptions[judged.number];
        let why: Vec<&str> = judged.tried.iter().map(|tried| tried.text.as_str()).collect();
        println!("✓ {} {}: {}", one.name, means(one), why.join(", "));
    }
    for judged in routing.judged.iter().filter(|judged| !judged.takes && judged.failed() == 1) {
        let one = &subscriptions[judged.number];
        for tried in judged.tried.iter().filter(|tried| !tried.holds) {
            // The value may be patient data: the page of the console shows it, a terminal does not.
            println!("✕ {} nearly {}: not met: {}", one.name, means(one), tried.text);
        }
    }
    if !taken {
        println!("Nobody would receive it: it would be kept and shown as not routed.");
    }
    Ok(ExitCode::from(u8::from(!taken)))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("could not read {}", file.display()))
}

fn configuration(options: &cli::Routing) -> anyhow::Result<Configuration> {
    let environment =
        Environment::of_process(options.environment.clone().unwrap_or_else(|| "local".to_owned()));
    let files = site::read_folder(&options.site)?;
    match Configuration::compile(&files, &environment, 0) {
        Ok(configuration) => Ok(configuration),
        Err(mistakes) => {
            let list: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            bail!("the site does not compile:\n\n{}", list.join("\n"))
        }
    }
}

fn means(one: &Subscription) -> String {
    match &one.means {
        Means::Sends => "sends it".to_owned(),
        Means::SendsAsMember(group) => format!("sends it, as a member of {group}"),
        Means::Collects => "collects it into a batch".to_owned(),
        Means::Starts => "begins an instance".to_owned(),
        Means::Follows => "goes on where an instance waits for it".to_owned(),
    }
}
