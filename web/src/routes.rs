//! The route table: what can be asked for, and who may.

use orderly_engine::capability::Capability::{self, *};

use crate::route::Needs::{Nothing, SignedIn};
use crate::route::Route;
use crate::tracking::{instance, message, search};
use crate::work::{decide, done, list, task};
use crate::{assets, health, home, sign_in};

/// Who may look at an instance: operators, and those who follow messages.
const INSTANCES: &[Capability] = &[PortRead, MsgFind];

/// Everything the console answers. Keep it on one screen: one line a route.
pub(crate) fn table() -> Vec<Route> {
    vec![
        // Session
        Route::get("/", SignedIn, home::show),
        Route::get("/login", Nothing, sign_in::show),
        Route::post("/login", Nothing, sign_in::submit),
        Route::post("/logout", SignedIn, sign_in::leave),
        Route::get("/me", SignedIn, home::me),
        // Work
        Route::get("/tasks", TaskWork, list::show),
        Route::get("/tasks/history", TaskWork, list::history),
        Route::get("/tasks/{id}", TaskWork, task::show),
        Route::post("/tasks/{id}/check", TaskWork, decide::check),
        Route::post("/tasks/{id}/decide", TaskWork, decide::decide),
        Route::get("/tasks/{id}/done", TaskWork, done::show),
        // Tracking
        Route::get("/messages", MsgFind, search::show),
        Route::post("/messages", MsgFind, search::submit),
        Route::get("/messages/{id}", MsgFind, message::show),
        Route::get("/messages/{id}/bytes", MsgRead, message::download),
        Route::get("/instances/{id}", INSTANCES, instance::show),
        // Rules
        // Operations
        // For machines
        Route::get("/assets/{file}", Nothing, assets::show),
        Route::get("/health/live", Nothing, health::live),
        Route::get("/health/ready", Nothing, health::ready),
        Route::get("/metrics", Nothing, health::metrics),
    ]
}
