//! The route table: what can be asked for, and who may.

use orderly_engine::capability::Capability::{self, *};

use crate::route::Needs::{Nothing, SignedIn};
use crate::route::Route;
use crate::tracking::{instance, message, search};
use crate::{assets, health, home, sign_in};

/// Who may look at an instance: operators, and those who follow messages.
const INSTANCES: &[Capability] = &[PortRead, MsgFind];

/// Everything the console answers. Keep it on one screen: one line a route.
pub(crate) fn table() -> Vec<Route> {
    let _ = TaskWork;
    vec![
        // Session
        Route::get("/", SignedIn, home::show),
        Route::get("/login", Nothing, sign_in::show),
        Route::post("/login", Nothing, sign_in::submit),
        Route::post("/logout", SignedIn, sign_in::leave),
        Route::get("/me", SignedIn, home::me),
        // Work
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
