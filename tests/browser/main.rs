//! What people see and do, in a real browser. All of it works without scripts; what scripts add
//! (parts that stay current, a screen that locks) has its own stories.

mod analyst;
mod auditor;
mod browser;
mod clinician;
mod operator;
