//! The route table: what can be asked for, and who may.

use orderly_engine::capability::Capability::*;

use crate::route::Needs::{Nothing, SignedIn};
use crate::route::Route;
use crate::{assets, health, home, sign_in};

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
        // Rules
        // Operations
        // For machines
        Route::get("/assets/{file}", Nothing, assets::show),
        Route::get("/health/live", Nothing, health::live),
        Route::get("/health/ready", Nothing, health::ready),
        Route::get("/metrics", Nothing, health::metrics),
    ]
}
