"""Many steps at once: sums of H(x) = clip(x + 1/2, 0, 1) over scores and thresholds.

Shape shorthand in this module:
    N: scores.
    P: thresholds, each of a step.
    K: knots, 2 P: where a step begins or ends.
"""

from __future__ import annotations

import tensorflow as tf

MAX_SCORE = 1e37  # the difference of two scores has to stay in float32

_MOST_KNOTS = 2**30  # where their number is not known


class RisingSteps:
    """The steps H(s - s_i) of all thresholds s_i, as functions of a score s.

    Each rises from 0 to 1 between two knots, s_i - 1/2 and s_i + 1/2. Between two
    neighbours of all knots every step is 0, 1 or a straight line, so a sum of steps
    over scores follows from their number and the sum of their offsets there, and a sum
    over steps is a line of the offset. Sums are float64: millions of scores are added,
    and those beyond a step are subtracted again.
    """

    def __init__(self, thresholds: tf.Tensor):
        """Takes the s_i [P], in ascending order."""
        begins, ends = thresholds - 0.5, thresholds + 0.5
        # 1/2; but 1 where float32 has no half any more, so that a step has no width.
        self.over_itself = tf.cast(tf.where(ends > thresholds, 0.5, 1.0), tf.float64)
        self.knots = tf.sort(tf.concat([begins, ends], 0))
        # Segment k lies above k knots, segment 0 below all.
        self.begins = count_up_to(self.knots, begins)
        self.ends = count_up_to(self.knots, ends)
        self.num_segments = tf.size(self.knots) + 1
        # Where each segment starts. No step is wider than 1, so a wider gap may count
        # as 1: then far scores take no digits from near ones.
        gaps = tf.minimum(self.knots[1:] - self.knots[:-1], 1.0)
        starts = tf.cumsum(tf.cast(gaps, tf.float64))
        self.starts = tf.concat([tf.zeros([2], tf.float64), starts], 0)
        self._begin = tf.gather(self.starts, self.begins)  # [P], of each step

    def place(self, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """[N] -> the segment of each score, and how far it lies in it (1 at most)."""
        segments = count_up_to(self.knots, scores)
        lower = tf.concat([[-MAX_SCORE], self.knots], 0)
        offsets = tf.minimum(scores - tf.gather(lower, segments), 1.0)
        return segments, offsets

    def sums_over(
        self, segments: tf.Tensor, offsets: tf.Tensor, members: tf.Tensor
    ) -> tf.Tensor:
        """Sums each step over scores.

        Args:
            segments: [N], see `place`.
            offsets: [N], see `place`.
            members: `bool` [N], the scores that are meant.

        Returns:
            `float64` [P], sum over the members j of H(s_j - s_i).
        """
        # What lies below all knots is in no sum.
        segments = tf.where(members, segments, 0)
        counts = tf.math.unsorted_segment_sum(
            tf.ones_like(segments), segments, self.num_segments
        )
        counts = tf.cast(counts, tf.float64)
        places = self.starts * counts + tf.math.unsorted_segment_sum(
            tf.cast(offsets, tf.float64), segments, self.num_segments
        )

        def between(values: tf.Tensor) -> tf.Tensor:
            below = tf.cumsum(values, exclusive=True)
            return tf.gather(below, self.ends) - tf.gather(below, self.begins)

        above = tf.gather(tf.cumsum(counts, reverse=True), self.ends)
        rising = between(places) - self._begin * between(counts)
        return above + tf.maximum(rising, 0.0)

    def values_at(
        self, segments: tf.Tensor, offsets: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        """Sums all steps at each score.

        Args:
            segments: [N], see `place`.
            offsets: [N], see `place`.
            weights: `float64` [P].

        Returns:
            `float32` [N], sum over i of weights_i * H(s_j - s_i).
        """

        def change(values: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
            return tf.math.unsorted_segment_sum(values, where, self.num_segments)

        begin, end = weights * self._begin, weights * (self._begin + 1.0)
        slopes = tf.cumsum(change(weights, self.begins) - change(weights, self.ends))
        levels = tf.cumsum(change(end, self.ends) - change(begin, self.begins))
        levels = tf.cast(levels + slopes * self.starts, tf.float32)
        slopes = tf.cast(slopes, tf.float32)
        return tf.gather(levels, segments) + tf.gather(slopes, segments) * offsets


def count_up_to(knots: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """[K] in ascending order, [N] -> [N] how many of the knots are at most x.

    By halving, without branches. `tf.searchsorted` is about as fast; compiled by XLA,
    it would make all pairs, and this is four times faster than either.
    """
    size = knots.shape[0]
    first = _MOST_KNOTS if size is None else 1 << (size.bit_length() - 1)
    last = tf.size(knots) - 1

    def look(step, found):
        place = found + step - 1
        below = tf.gather(knots, tf.minimum(place, last)) <= x
        found = tf.where((place <= last) & below, place + 1, found)
        return step // 2, found

    start = tf.constant(first), tf.zeros_like(x, tf.int32)
    return tf.while_loop(lambda step, _: step > 0, look, start)[1]
