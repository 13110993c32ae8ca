//! The jobs of ACME: challenges that are due, orders that are finalized in the background, and the clean-up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{CLEAN_UP, every, run};
use crate::ca::acme::Acme;

/// How often challenges and orders that others left behind are looked for: after failures a challenge is looked at again about this late.
const DUE: Duration = Duration::from_secs(1);

/// How often used nonces that are past their end are forgotten: there may be one for each request.
const FORGET: Duration = Duration::from_secs(60);

/// Starts the jobs.
pub(super) fn start(jobs: &mut JoinSet<()>, acme: Arc<Acme>, stop: &watch::Receiver<bool>) {
    let finalizing = Arc::clone(&acme);
    jobs.spawn(every("acme_finalizations", DUE, stop.clone(), move || {
        let acme = Arc::clone(&finalizing);
        async move { acme.finalize_due().await }
    }));
    let cleaning = Arc::clone(&acme);
    jobs.spawn(every("acme_clean_up", CLEAN_UP, stop.clone(), move || {
        let acme = Arc::clone(&cleaning);
        async move { acme.clean_up().await }
    }));
    let forgetting = Arc::clone(&acme);
    jobs.spawn(every("acme_nonces", FORGET, stop.clone(), move || {
        let acme = Arc::clone(&forgetting);
        async move { acme.forget_nonces().await }
    }));
    jobs.spawn(validate(acme, stop.clone()));
}

/// Looks at challenges that are due, every [`DUE`] and as soon as there is room for what found none, until `stop`; then gives back what this
/// process leased.
async fn validate(acme: Arc<Acme>, mut stop: watch::Receiver<bool>) {
    loop {
        run("acme_validations", acme.validate_due()).await;
        tokio::select! {
            () = tokio::time::sleep(DUE) => {}
            () = acme.room_for_validations() => {}
            // An error means that nobody can tell us to stop any more: stop.
            _changed = stop.wait_for(|stop| *stop) => break,
        }
    }
    run("acme_validations", acme.stop()).await;
}
