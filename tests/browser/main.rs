//! What people see and do, in a real browser. The console has no scripts, so all of it works without them.

mod analyst;
mod auditor;
mod browser;
mod clinician;
mod operator;
