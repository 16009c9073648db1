//! The route table: what can be asked for, and who may.

use orderly_engine::capability::Capability::{self, *};

use crate::audit::{log, retention};
use crate::batches::{incoming, outgoing};
use crate::operations::{
    act, alerts, edit, instances, jobs, overview, ports, queues, subscriptions, suspended,
};
use crate::route::Needs::{Locked, Nothing, SignedIn};
use crate::route::Route;
use crate::rules::{catalog, draft, publish, set, trial, vocabulary};
use crate::tracking::{instance, message, search};
use crate::work::{decide, done, list, state, task};
use crate::{api, assets, health, home, lock, me, sign_in};

/// Who may look at an instance: operators, and those who follow messages.
const INSTANCES: &[Capability] = &[PortRead, MsgFind];

/// Who may look at what is kept and for how long.
const KEEPERS: &[Capability] = &[AuditRead, RetentionConfig];

/// Everything the console answers: one line a route.
pub(crate) fn table() -> Vec<Route> {
    let mut table = people();
    table.extend(operations());
    table
}

/// Sessions, work, tracking and rules.
fn people() -> Vec<Route> {
    vec![
        // Session
        Route::get("/", SignedIn, home::show),
        Route::get("/login", Nothing, sign_in::show),
        Route::post("/login", Nothing, sign_in::submit),
        Route::post("/logout", Locked, sign_in::leave),
        Route::get("/lock", Locked, lock::show),
        Route::post("/lock", Locked, lock::lock),
        Route::post("/unlock", Locked, lock::unlock),
        Route::get("/here", SignedIn, lock::here),
        Route::get("/me", SignedIn, me::show),
        Route::post("/me/sessions/end", SignedIn, me::end_sessions),
        // Work
        Route::get("/tasks", TaskWork, list::show),
        Route::get("/tasks/history", TaskWork, list::history),
        Route::get("/tasks/{id}", TaskWork, task::show),
        Route::post("/tasks/{id}/check", TaskWork, decide::check),
        Route::post("/tasks/{id}/decide", TaskWork, decide::decide),
        Route::get("/tasks/{id}/done", TaskWork, done::show),
        Route::get("/tasks/{id}/state", TaskWork, state::show),
        // Tracking
        Route::get("/messages", MsgFind, search::show),
        Route::post("/messages", MsgFind, search::submit),
        Route::get("/messages/{id}", MsgFind, message::show),
        Route::get("/messages/{id}/bytes", MsgRead, message::download),
        Route::get("/messages/{id}/edit", MsgEdit, edit::show_message),
        Route::post("/messages/{id}/edit", MsgEdit, edit::submit_message),
        Route::get("/instances/{id}", INSTANCES, instance::show),
        Route::get("/audit", AuditRead, log::show),
        Route::get("/audit/verify", AuditVerify, log::show_chain),
        Route::post("/audit/verify", AuditVerify, log::verify),
        Route::get("/retention", KEEPERS, retention::show),
        Route::post("/retention/holds", RetentionConfig, retention::place),
        Route::post("/retention/holds/{id}", RetentionConfig, retention::release),
        // Rules
        Route::get("/rules", RulesRead, catalog::show),
        Route::get("/rules/{sort}/{name}", RulesRead, set::show),
        Route::get("/rules/{sort}/{name}/draft", RulesEdit, draft::show),
        Route::post("/rules/{sort}/{name}/draft", RulesEdit, draft::save),
        Route::post("/rules/{sort}/{name}/discard", RulesEdit, draft::discard),
        Route::post("/rules/{sort}/{name}/publish", RulesPublish, publish::publish),
        Route::get("/rules/{sort}/{name}/rollback", RulesRollback, publish::check_roll_back),
        Route::post("/rules/{sort}/{name}/rollback", RulesRollback, publish::roll_back),
        Route::get("/rules/{sort}/{name}/try", RulesEdit, trial::show),
        Route::post("/rules/{sort}/{name}/try", RulesEdit, trial::run),
        Route::get("/vocab", RulesRead, vocabulary::show),
        Route::get("/codesets", RulesRead, vocabulary::code_sets),
    ]
}

/// Operations, and what machines ask for.
fn operations() -> Vec<Route> {
    vec![
        // Operations
        Route::get("/ops", PortRead, overview::show),
        Route::get("/ports", PortRead, ports::list),
        Route::get("/ports/{kind}/{*name}", PortRead, ports::show),
        Route::post("/ports/{kind}/{*name}", PortControl, act::switch_port),
        Route::get("/queues", PortRead, queues::list),
        Route::get("/subscriptions", PortRead, subscriptions::show),
        Route::post("/subscriptions", PortRead, subscriptions::ask),
        Route::get("/suspended", PortRead, suspended::list),
        Route::get("/suspended/{group}", PortRead, suspended::show_group),
        Route::post("/suspended/{group}/resume", InstControl, act::resume_group),
        Route::post("/suspended/{group}/terminate", InstTerminate, act::terminate_group),
        Route::post("/suspended/{group}/move", BulkRun, act::move_group),
        Route::get("/suspended/work/{id}", PortRead, suspended::show_work),
        Route::post("/suspended/work/{id}/resume", InstControl, act::resume_work),
        Route::post("/suspended/work/{id}/suspend", InstControl, act::suspend_work),
        Route::post("/suspended/work/{id}/terminate", InstTerminate, act::terminate_work),
        Route::post("/suspended/work/{id}/move", BulkRun, act::move_work),
        Route::get("/suspended/work/{id}/edit", MsgEdit, edit::show),
        Route::post("/suspended/work/{id}/edit", MsgEdit, edit::submit),
        Route::get("/jobs", PortRead, jobs::list),
        Route::get("/jobs/{id}", PortRead, jobs::show),
        Route::post("/jobs/{id}", BulkRun, jobs::tell),
        Route::get("/batches", PortRead, outgoing::list),
        Route::get("/batches/{id}", PortRead, outgoing::show),
        Route::post("/batches/{id}", PortControl, outgoing::control),
        Route::get("/batches/in", PortRead, incoming::list),
        Route::get("/batches/in/{id}", INSTANCES, incoming::show),
        Route::get("/orchestrations", PortRead, instances::list_orchestrations),
        Route::get("/instances", PortRead, instances::list),
        Route::post("/instances/{id}/resume", InstControl, act::resume_instance),
        Route::post("/instances/{id}/terminate", InstTerminate, act::terminate_instance),
        Route::get("/alerts", PortRead, alerts::list),
        Route::post("/alerts/{id}/acknowledge", AlertAck, alerts::acknowledge),
        // For machines
        Route::get("/assets/{file}", Nothing, assets::show),
        Route::get("/api/v1/tasks", Nothing, api::tasks),
        Route::get("/health/live", Nothing, health::live),
        Route::get("/health/ready", Nothing, health::ready),
        Route::get("/metrics", Nothing, health::metrics),
    ]
}
