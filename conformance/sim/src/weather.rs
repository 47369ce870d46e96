//! How the network is: calm or not, and what becomes of one connection in it.

use std::time::Duration;

use crate::choices::Choices;

/// The network of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Latency of a connection, at most; each has its own.
    pub latency: Duration,
    /// Out of a hundred connections so many get their bytes in odd pieces.
    pub cut: u64,
    /// So many stand still for a while.
    pub stall: u64,
    /// So many are reset, in one direction or the other.
    pub reset: u64,
    /// So many fall silent for ever: nothing arrives any more, and nobody is told.
    pub silent: u64,
    /// So many are refused, or never answered, when the server opens them.
    pub refused: u64,
}

impl Weather {
    /// Some latency, and nothing else.
    pub const CALM: Self = Self {
        latency: Duration::from_millis(20),
        cut: 0,
        stall: 0,
        reset: 0,
        silent: 0,
        refused: 0,
    };
}

/// What becomes of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fortune {
    pub(crate) latency: Duration,
    pub(crate) pieces: Pieces,
    /// What happens to it once so many bytes were written in one direction.
    pub(crate) mishap: Option<(Mishap, Direction, u64)>,
    /// Bytes that may be under way in one direction.
    pub(crate) window: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    Whole,
    /// Of so many bytes at most.
    Of(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    Stall(Duration),
    Reset,
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToPeer,
}

/// What is under way in one direction, where nothing is odd: Linux's default.
const WINDOW: usize = 64 * 1024;

impl Fortune {
    pub(crate) fn draw(weather: &Weather, choices: &Choices) -> Self {
        let micros = u64::try_from(weather.latency.as_micros()).unwrap_or(u64::MAX);
        let latency = Duration::from_micros(choices.below(micros));
        let odd = choices.percent(weather.cut);
        let pieces = match odd.then(|| choices.below(4)) {
            None => Pieces::Whole,
            Some(0) => Pieces::Of(1460),
            Some(1) => Pieces::Of(1),
            Some(2) => Pieces::Of(7),
            Some(_) => Pieces::Of(choices.between(2, 300)),
        };
        let window = match odd && choices.percent(30) {
            true => usize::try_from(choices.between(16, 4096)).unwrap_or(WINDOW),
            false => WINDOW,
        };
        Self { latency, pieces, mishap: mishap(weather, choices), window }
    }
}

fn mishap(weather: &Weather, choices: &Choices) -> Option<(Mishap, Direction, u64)> {
    let Weather { stall, reset, silent, .. } = *weather;
    let lot = choices.below(100);
    // Zero is the plain case.
    let lot = 99 - lot;
    let what = if lot < stall {
        Mishap::Stall(Duration::from_millis(choices.between(1, 400_000)))
    } else if lot < stall + reset {
        Mishap::Reset
    } else if lot < stall + reset + silent {
        Mishap::Silent
    } else {
        return None;
    };
    let direction = match choices.below(2) {
        0 => Direction::ToServer,
        _ => Direction::ToPeer,
    };
    // Often in the dialogue, now and then in the middle of a message.
    let most = if choices.percent(30) { 6000 } else { 500 };
    Some((what, direction, choices.below(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_calm_weather_nothing_befalls_anybody() {
        let choices = Choices::seeded(3);
        for _ in 0..200 {
            let fortune = Fortune::draw(&Weather::CALM, &choices);
            assert_eq!((fortune.mishap, fortune.pieces), (None, Pieces::Whole));
            assert!(fortune.latency < Weather::CALM.latency);
        }
    }

    #[test]
    fn in_a_storm_everything_does() {
        let storm = Weather { cut: 50, stall: 30, reset: 30, silent: 30, ..Weather::CALM };
        let choices = Choices::seeded(3);
        let all: Vec<_> = (0..200).map(|_| Fortune::draw(&storm, &choices)).collect();
        let mishaps = || all.iter().filter_map(|fortune| fortune.mishap);
        assert!(mishaps().any(|(what, ..)| matches!(what, Mishap::Stall(_))));
        assert!(mishaps().any(|(what, ..)| what == Mishap::Reset));
        assert!(mishaps().any(|(what, ..)| what == Mishap::Silent));
        assert!(mishaps().any(|(_, direction, _)| direction == Direction::ToPeer));
        assert!(all.iter().any(|fortune| fortune.pieces == Pieces::Of(1)));
        assert!(all.iter().any(|fortune| fortune.window < WINDOW));
        // Zeros are the plain case in any weather.
        let plain = Fortune::draw(&storm, &Choices::from_bytes(&[]));
        assert_eq!((plain.mishap, plain.pieces), (None, Pieces::Whole));
    }
}
