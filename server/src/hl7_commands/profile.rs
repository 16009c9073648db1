//! `orderly hl7 validate --profile`: a message profile from a file, without a site.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use orderly_hl7::Level;
use orderly_hl7::profile::Profile;
use orderly_hl7::validate::{Matching, Validation};

use super::args::Validate;

/// What the options of the command ask for.
///
/// # Errors
///
/// Level `profile` without a profile, and a profile with mistakes, which are told with their places.
pub(super) fn validation(options: &Validate) -> anyhow::Result<Validation> {
    let level = match options.level {
        Some(level) => level.into(),
        None if options.profile.is_some() => Level::Profile,
        None => Level::Standard,
    };
    if level == Level::Profile && options.profile.is_none() {
        bail!("level `profile` needs `--profile FILE`");
    }
    let profile = options.profile.as_deref().map(read).transpose()?;
    let matching = if options.strict { Matching::Strict } else { Matching::Lenient };
    Ok(Validation { profile, matching, ..Validation::at(level) })
}

fn read(file: &Path) -> anyhow::Result<Arc<Profile>> {
    let name_of = |path: &Path| Some(path.file_name()?.to_str()?.strip_suffix(".yaml")?.to_owned());
    let name = name_of(file).with_context(|| format!("{} is not a .yaml file", file.display()))?;
    std::fs::metadata(file).with_context(|| format!("could not read {}", file.display()))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))? {
        let path = entry?.path();
        if let Some(name) = name_of(&path) {
            let text = std::fs::read_to_string(&path);
            files.insert(name, text.with_context(|| format!("could not read {}", path.display()))?);
        }
    }
    let (mut profiles, mut found) = orderly_rules::profile::read_all(&files);
    if let Some(profile) = profiles.remove(&name) {
        return Ok(profile);
    }
    for one in &mut found {
        // Named as the person knows the file, not as a site does.
        let own = folder.join(one.file.rsplit('/').next().unwrap_or_default());
        one.file = own.strip_prefix("./").unwrap_or(&own).display().to_string();
    }
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    bail!("the profile has mistakes\n{}", told.join("\n"))
}
