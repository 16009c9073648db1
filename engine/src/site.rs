//! The site folder: what an integration analyst writes, reviews in git, checks, deploys and exports.
//!
//! `Configuration::compile` turns its files into one typed value or a list of mistakes; it reads nothing else.
//! Files come from a folder or from Postgres, always as bytes, so what was reviewed is what runs.

mod acknowledgment;
mod artifacts;
mod batch;
mod calendar;
mod check;
mod compile;
mod deploy;
mod enlist;
mod filters;
mod folder;
mod folder_port;
mod follow;
mod head;
mod layers;
mod notify;
mod origin;
mod party;
mod people;
mod plan;
mod publish;
mod read;
mod receive_port;
mod send_port;
mod sheet;
mod source;
mod touched;
mod values;

pub use artifacts::{Artifact, artifacts};
pub use check::{Report, Tally, check, check_files};
pub use compile::{Compiled, compile};
pub use deploy::{
    By, Deployment, Error, Version, deploy, deploy_discarding, enrol_people, export, files_of, running,
};
pub use folder::{Exported, FolderError, read_folder, write_folder};
pub use follow::ConfigurationStore;
pub use layers::{LIBRARY, find, with_library, without_library};
pub use origin::{Origin, Origins};
pub use plan::{Change, How, Plan, plan};
pub use publish::{
    FileChange, back_to, changed, in_place_of_library, publish_file, publish_files, roll_back_file, test_path,
};
pub use touched::plan_deployment;
pub use values::Environment;

#[cfg(test)]
mod deploy_tests;
#[cfg(test)]
mod keeping_tests;
#[cfg(test)]
mod sample_tests;
#[cfg(test)]
mod tests;
