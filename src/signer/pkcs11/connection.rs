//! One thread's way to a token: a session that is opened when it is needed and opened again when it was lost.

use std::collections::HashMap;
use std::sync::Arc;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};

use super::failure::{Class, Failure};
use super::key;
use super::token::Device;
use super::uri::KeyUri;
use crate::signer::tokens::TokenSelector;

/// A session, if there is one, and the way to the next.
pub(super) struct Connection {
    device: Arc<Device>,
    open: Option<Open>,
    /// The start of the library during the latest call.
    epoch: u64,
}

/// A session that is logged in. It is not closed by being dropped: after a new start of the library its number may be another's.
pub(super) struct Open {
    pub(super) session: Session,
    pub(super) slot: Slot,
    pub(super) token: TokenInfo,
    pub(super) mechanisms: Vec<MechanismType>,
    epoch: u64,
    keys: HashMap<KeyUri, ObjectHandle>,
}

impl Open {
    /// Finds a key, once for each session.
    pub(super) fn key(&mut self, uri: &KeyUri) -> Result<ObjectHandle, Failure> {
        if let Some(key) = self.keys.get(uri) {
            return Ok(*key);
        }
        let key = key::find(&self.session, uri)?;
        key::refuse_unsafe(&self.session, key)?;
        self.keys.insert(uri.clone(), key);
        Ok(key)
    }
}

impl Connection {
    pub(super) const fn new(device: Arc<Device>) -> Self {
        Self { device, open: None, epoch: 0 }
    }

    /// Does some work in a session. When the session turns out to be lost the work is done once more in a new one, and when that does
    /// not help either, once more after a new start of the library.
    pub(super) fn run<T>(
        &mut self,
        work: &mut dyn FnMut(&Pkcs11, &mut Open) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut outcome = self.attempt(work);
        for new_start in [false, true] {
            let failure = match outcome {
                Ok(done) => {
                    self.device.module.works();
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            self.close();
            match failure.class {
                Class::Lost | Class::Away | Class::KeyMissing => {}
                Class::Busy | Class::Refused => return Err(failure),
            }
            tracing::debug!(token = %self.device.settings.name, %failure, new_start, "a call to the token is repeated");
            if new_start && let Err(refusal) = self.device.module.restart(self.epoch) {
                tracing::debug!(token = %self.device.settings.name, %refusal, "the PKCS #11 module is not started anew");
                // A library that lost its device may still list the token, without its keys: nobody knows yet.
                return Err(failure.unless_certain());
            }
            outcome = self.attempt(work);
        }
        outcome.inspect_err(|_failure| self.close())
    }

    /// Gives the session up; the next call opens another.
    pub(super) fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Ok(call) = self.device.module.enter() else { return };
        if call.epoch() == open.epoch
            && let Err(error) = open.session.close()
        {
            tracing::debug!(token = %self.device.settings.name, %error, "a session cannot be closed");
        }
    }

    fn attempt<T>(&mut self, work: &mut dyn FnMut(&Pkcs11, &mut Open) -> Result<T, Failure>) -> Result<T, Failure> {
        let device = Arc::clone(&self.device);
        let call = device.module.enter()?;
        self.epoch = call.epoch();
        let mut open = match self.open.take().filter(|open| open.epoch == call.epoch()) {
            Some(open) => open,
            None => open_session(&device, call.context(), call.epoch())?,
        };
        let outcome = work(call.context(), &mut open);
        self.open = Some(open);
        outcome
    }
}

fn open_session(device: &Device, context: &Pkcs11, epoch: u64) -> Result<Open, Failure> {
    let (slot, token) = find_token(&device.settings.selector, context)?;
    let mechanisms = context.get_mechanism_list(slot)?;
    let session = context.open_ro_session_no_drop(slot)?;
    match log_in(device, &session, &token) {
        Ok(()) => Ok(Open { session, slot, token, mechanisms, epoch, keys: HashMap::new() }),
        Err(failure) => {
            if let Err(error) = session.close() {
                tracing::debug!(token = %device.settings.name, %error, "a session cannot be closed");
            }
            Err(failure)
        }
    }
}

/// Finds the one token that the configuration means.
fn find_token(selector: &TokenSelector, context: &Pkcs11) -> Result<(Slot, TokenInfo), Failure> {
    let slots = match selector {
        TokenSelector::Slot(id) => vec![Slot::try_from(*id)?],
        TokenSelector::Label(_) | TokenSelector::Serial(_) => context.get_slots_with_token()?,
    };
    let mut found = Vec::new();
    for slot in slots {
        let token = match context.get_token_info(slot) {
            Ok(token) => token,
            // One reader that is out of order must not hide the others.
            Err(error) => {
                tracing::debug!(slot = slot.id(), %error, "a slot does not tell of its token");
                continue;
            }
        };
        let meant = match selector {
            TokenSelector::Label(label) => token.label() == label,
            TokenSelector::Serial(serial) => token.serial_number() == serial,
            TokenSelector::Slot(_) => true,
        };
        if meant && token.token_initialized() {
            found.push((slot, token));
        }
    }
    if found.len() > 1 {
        return Err(Failure::refused(format!(
            "{} tokens have {selector}; name one by `serial` or `slot`",
            found.len()
        )));
    }
    found.pop().ok_or_else(|| Failure::away(format!("no token with {selector} is there")))
}

/// Logs in. The login counts for all sessions of the process, so another may have been first.
fn log_in(device: &Device, session: &Session, token: &TokenInfo) -> Result<(), Failure> {
    let Some(pin) = &device.settings.pin else { return Ok(()) };
    // A token locks itself after a few wrong PINs: we try one once, and never the last time.
    if device.pin_was_refused() {
        return Err(Failure::refused("it refused the PIN; the service must be restarted with the right one"));
    }
    if token.user_pin_locked() || token.user_pin_final_try() {
        return Err(Failure::refused("its PIN is locked, or the next wrong one locks it: log in once by other means"));
    }
    match session.login(UserType::User, Some(pin)) {
        Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Pkcs11Error::Pkcs11(
            refusal @ (RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked),
            _,
        )) => {
            device.refuse_pin();
            Err(Failure::refused(format!("it refuses the PIN ({refusal:?})")))
        }
        Err(error) => Err(error.into()),
    }
}
