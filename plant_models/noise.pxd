# Seeded noise without hidden state: SplitMix64 (Steele, Lea, Flood 2014) used as a counter-based generator.
# Draw n of signal k of a plant depends on (seed, k, n) alone, so a new sensor never changes another one's noise, and a
# plant keeps its counter n in one state word: the same state gives the same bits again.
from libc.math cimport cos, log, sqrt
from libc.stdint cimport uint64_t

cdef inline uint64_t mix64(uint64_t z) noexcept nogil:
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9ULL
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EBULL
    return z ^ (z >> 31)

cdef inline double uniform01(uint64_t key, uint64_t n) noexcept nogil:
    # in (0, 1]: never 0, so that its logarithm is finite
    return <double>((mix64(key + (n + 1) * <uint64_t>0x9E3779B97F4A7C15ULL) >> 11) + 1) * 1.1102230246251565e-16

cdef inline double normal(double seed, int signal, double n) noexcept nogil:
    # Box-Muller, one value of the pair. seed: 0 .. 2^53, whole; signal: number of the signal; n: draw, 0 .. 2^52, whole
    cdef uint64_t key = mix64(<uint64_t>seed ^ mix64(<uint64_t>(signal + 1)))
    cdef uint64_t k = 2 * <uint64_t>n
    return sqrt(-2.0 * log(uniform01(key, k))) * cos(6.283185307179586 * uniform01(key, k + 1))
