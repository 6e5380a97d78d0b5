'use strict';

const crypto = require('crypto');

// Bytes that do not compress, of exactly `size`, the same for the same key.
function body(key, size) {
  const cipher = crypto.createCipheriv('aes-128-ctr',
    crypto.createHash('md5').update(key).digest(), Buffer.alloc(16));
  return cipher.update(Buffer.alloc(size));
}

// Text of exactly `size` bytes that shrinks well, so the client compresses it.
function compressible(key, size) {
  return Buffer.alloc(size, key + ' the same line again and again; ');
}

// What the cases compare, so that a failure line stays short.
function hash(content) {
  return crypto.createHash('sha256').update(content).digest('hex');
}

module.exports = { body, compressible, hash };
