//! Copy on write: saves a state of one moment, piece by piece, while it goes on to change.
//!
//! Every piece knows the latest save that has it. One that is about to change and that the save in progress does not
//! have yet puts aside how it is now, and the save takes that instead when it gets there.

/// The save in progress, if there is one: all of the same state have other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Save(u32);

/// The numbers of saves.
#[derive(Debug, Default)]
pub struct Saves {
    latest: u32,
    is_active: bool,
}

impl Saves {
    /// Begins one; one in progress is given up.
    pub fn begin(&mut self) {
        // After all numbers were had, a piece that was not touched since would have to be as old.
        self.latest = self.latest.checked_add(1).unwrap_or(1);
        self.is_active = true;
    }

    /// There is none in progress any more.
    pub fn end(&mut self) {
        self.is_active = false;
    }

    /// The one in progress.
    #[inline]
    pub fn current(&self) -> Save {
        Save(if self.is_active { self.latest } else { 0 })
    }
}

/// What a piece of the state knows of saves.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    /// The number of the latest save that has this piece.
    save: u32,
    bytes: Option<Box<[u8]>>,
}

impl Aside {
    /// Of a piece that comes now and is no part of the save in progress.
    pub const fn beside(save: Save) -> Self {
        Self { save: save.0, bytes: None }
    }

    /// Whether the piece has to be [`put`](Self::put) before it changes.
    #[inline]
    pub const fn is_due(&self, save: Save) -> bool {
        save.0 != 0 && self.save != save.0
    }

    /// The piece as it was when the save began.
    pub fn put(&mut self, save: Save, bytes: Vec<u8>) {
        (self.save, self.bytes) = (save.0, Some(bytes.into_boxed_slice()));
    }

    /// The save gets to the piece: what was put aside, and nothing if it has not changed.
    pub fn take(&mut self, save: Save) -> Option<Box<[u8]>> {
        let bytes = self.bytes.take().filter(|_| self.save == save.0);
        self.save = save.0;
        bytes
    }
}

/// A part of the state that is saved as a whole.
pub trait Piece {
    /// What it knows of saves.
    fn aside(&mut self) -> &mut Aside;

    /// Its bytes as it is now, behind those before it.
    fn encode(&self, bytes: &mut Vec<u8>);

    /// To be called before anything of it changes: the save in progress gets it as it is now.
    #[inline]
    fn before_change(&mut self, save: Save) {
        if self.aside().is_due(save) {
            self.put_aside(save);
        }
    }

    /// See [`Self::before_change`].
    #[cold]
    fn put_aside(&mut self, save: Save) {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        self.aside().put(save, bytes);
    }

    /// Its bytes as of the beginning of the save, which then has it.
    fn save(&mut self, save: Save, bytes: &mut Vec<u8>) {
        match self.aside().take(save) {
            Some(aside) => bytes.extend_from_slice(&aside),
            None => self.encode(bytes),
        }
    }
}

/// A piece's bytes, behind those before it.
///
/// # Panics
/// Never: a vector takes everything.
pub fn encode(piece: &impl serde::Serialize, bytes: &mut Vec<u8>) {
    *bytes = postcard::to_extend(piece, std::mem::take(bytes)).expect("a vector takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_put_aside_once_before_it_changes() {
        let (mut saves, mut aside) = (Saves::default(), Aside::default());
        assert!(!aside.is_due(saves.current()), "nobody saves");
        saves.begin();
        assert!(aside.is_due(saves.current()));
        aside.put(saves.current(), b"old".to_vec());
        assert!(!aside.is_due(saves.current()));
        assert_eq!(aside.take(saves.current()).as_deref(), Some(&b"old"[..]));
        assert!(!aside.is_due(saves.current()), "the save has it");
        saves.end();
        assert!(!aside.is_due(saves.current()));
    }

    #[test]
    fn what_was_put_aside_for_a_save_that_was_given_up_is_for_no_other() {
        let (mut saves, mut aside) = (Saves::default(), Aside::default());
        saves.begin();
        aside.put(saves.current(), b"old".to_vec());
        saves.begin();
        assert!(aside.is_due(saves.current()));
        assert_eq!(aside.take(saves.current()), None);
        assert!(!aside.is_due(saves.current()));
    }
}
