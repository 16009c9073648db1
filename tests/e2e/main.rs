//! Stories of the made-up hospital, through real sockets, a real database and a real server process.

mod bad_input;
mod decisions;
mod interfaces;
mod laboratory_day;
mod limits;
