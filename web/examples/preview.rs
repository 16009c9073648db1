//! The console on a fresh database with made-up people and tasks, to look at pages without an engine:
//! `cargo run -p orderly-web --example preview -- 127.0.0.1:8099`, then sign in as `a.lind` / `demo-a.lind`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;

use serde_json::json;
use support::Console;
use support::tasks::{self, NewTask};

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8099".to_owned());
    let console = Console::start().await;
    let fields = json!({"called": {"type": "text", "required": true, "title": "Who was called"},
                        "again": {"type": "bool", "title": "Ask the laboratory for a new sample"}});
    let made = [
        NewTask { due_at: Some("2026-11-21T08:30:00Z"), ..NewTask::default() },
        NewTask { quorum: 2, sign: true, fields, ..NewTask::default() },
        NewTask { excluded: vec!["a.lind"], due_at: Some("2026-11-21T14:00:00Z"), ..NewTask::default() },
        NewTask { due_at: None, quorum: 2, ..NewTask::default() },
        NewTask { roles: vec!["duty-physician"], ..NewTask::default() },
    ];
    for task in made {
        println!("{}", tasks::make(&console, task).await);
    }
    let listener = tokio::net::TcpListener::bind(&address).await.expect("the address is free");
    println!("http://{address}");
    let service = console.router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await.expect("the preview runs until it is stopped");
}
