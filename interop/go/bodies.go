package main

import (
	"crypto/sha256"
	"encoding/hex"
)

// body gives pseudo-random bytes (not compressible) of exactly size, the same for the same key.
func body(key string, size int) []byte {
	state := uint64(0xcbf29ce484222325)
	for _, b := range []byte(key) {
		state = (state ^ uint64(b)) * 0x100000001b3
	}
	state |= 1
	out := make([]byte, size)
	for i := range out {
		if i%8 == 0 {
			state ^= state << 13
			state ^= state >> 7
			state ^= state << 17
		}
		out[i] = byte(state >> (8 * (i % 8)))
	}
	return out
}

// compressible gives text of exactly size bytes that shrinks well, so the client compresses it.
func compressible(key string, size int) []byte {
	line := []byte(key + " the same line again and again; ")
	out := make([]byte, size)
	for i := range out {
		out[i] = line[i%len(line)]
	}
	return out
}

// hash is what the cases compare, so that a failure line stays short.
func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
