"""training.speed: the time that steps wait for data, and memory."""

import time

import numpy as np
import tensorflow as tf

from libra_tf.training.speed import LoopSpeed, peak_memory


def test_the_wait_for_data_is_told_beside_the_time_of_the_loop():
    speed = LoopSpeed()

    def slow():
        time.sleep(0.1)
        return np.float32(2.0)

    @tf.function
    def step(waits):
        take = lambda: tf.numpy_function(slow, [], tf.float32)  # noqa: E731
        at_once = lambda: tf.identity(waits)  # noqa: E731
        batch = speed.timed(take if waits.shape[0] else at_once, local=lambda x: x)
        return tf.reduce_sum(batch)

    shares = {}
    for rows in (0, 1):
        waits = tf.zeros([rows])
        step(waits)  # traced
        speed.begin()
        for _ in range(3):
            step(waits)
        time.sleep(0.1)
        shares[rows] = speed.end()["data_wait_share"]
    assert shares[0] < 0.3
    assert 0.5 < shares[1] < 1  # 0.3 s of 0.4 s


def test_memory_is_that_of_the_process_without_a_gpu():
    before = peak_memory()
    assert before > 50 * 2**20  # TensorFlow alone
    kept = np.ones(before + 2**27, np.uint8)
    assert peak_memory() - before > 2**26
    del kept
