/** CRC-16/CCITT-FALSE and CRC-32, as FORMAT.md has them. */

const CRC16 = new Uint16Array(256);
const CRC32 = new Uint32Array(256);
for (let n = 0; n < 256; n++) {
  let a = n << 8;
  let b = n;
  for (let k = 0; k < 8; k++) {
    a = a & 0x8000 ? (a << 1) ^ 0x1021 : a << 1;
    b = b & 1 ? (b >>> 1) ^ 0xedb88320 : b >>> 1;
  }
  CRC16[n] = a;
  CRC32[n] = b;
}

/** @param {Uint8Array} data */
export function crc16(data) {
  let crc = 0xffff;
  for (let i = 0; i < data.length; i++) crc = ((crc << 8) & 0xffff) ^ CRC16[(crc >>> 8) ^ data[i]];
  return crc;
}

/** crc: of the bytes before, to go on with. */
export function crc32(data, crc = 0) {
  crc = ~crc;
  for (let i = 0; i < data.length; i++) crc = (crc >>> 8) ^ CRC32[(crc ^ data[i]) & 255];
  return ~crc >>> 0;
}

/** The checksum at the end of zlib data: of what it holds. */
export function adler32(data) {
  let a = 1;
  let b = 0;
  for (const byte of data) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return b * 65536 + a;
}
