/** A model's exact part: what turns the sections of a file into codes. */

import { corrupt, unsupported } from "./errors.js";
import { Kernels, PROFILES } from "./kernels.js";
import { checkManifest, readIntegers } from "./manifest.js";
import { Latents, Prior } from "./prior.js";
import { RangeDecoder } from "./range_decoder.js";
import { decodePass } from "./sections.js";
import { LatentTables } from "./tables.js";
import { TokenNet, decodeTokens } from "./tokens.js";
import { readTrellis } from "./trellis.js";

const SIDE = 32; // pixels that a token stands for

/** Pixels -> h, w of the latents, two to a token. */
export function latentSize(height, width) {
  return [Math.ceil(height / SIDE) * 2, Math.ceil(width / SIDE) * 2];
}

export class ExactModel {
  /** manifest and integers: of an export; scalar: without WebAssembly's vectors. */
  constructor(manifest, integers, { scalar = false } = {}) {
    checkManifest(manifest);
    const arrays = readIntegers(manifest, integers);
    this.id = manifest.model_id;
    this.tableHash = manifest.table_hash;
    this.config = manifest.config;
    this.trellis = readTrellis(manifest.trellis);
    this.latent = new LatentTables(arrays);
    this.tokens = new TokenNet(arrays, scalar);
    this.prior = new Prior(this.config, arrays, new Kernels(scalar, PROFILES[this.config.arithmetic]));
  }

  /** Refuses files of other models. */
  check(header) {
    if (header.modelId !== this.id) {
      throw unsupported(`the file was made with model ${header.modelId}, this is model ${this.id}`);
    }
    if (header.tableHash !== this.tableHash) {
      throw unsupported(`the file was made with other tables of model ${header.modelId}`);
    }
  }

  /** Decodes the tokens of a stream -> Latents of which no group is done. */
  start(stream) {
    this.check(stream.header);
    if (stream.sections.length !== 1 + this.config.groups.length) {
      throw corrupt("the number of sections is not that of this model");
    }
    const [h, w] = latentSize(stream.header.height, stream.header.width);
    const tokens = decodeTokens(new RangeDecoder(stream.sections[0]), this.tokens, h / 2, w / 2);
    const latents = new Latents(this.prior, tokens, h, w, stream.header.level);
    latents.tokens = tokens;
    return latents;
  }

  /** Does the next group with its section, or null for one that was cut off. */
  group(latents, section, progress) {
    const decoder = section && new RangeDecoder(section);
    const code = decoder && ((scale, values) => decodePass(decoder, this.latent, this.trellis, scale, values));
    latents.next(code, progress);
  }

  /** All groups of a stream -> Latents. */
  decode(stream, progress = () => {}) {
    const latents = this.start(stream);
    const all = this.config.groups.length;
    for (let k = 0; k < all; k++) this.group(latents, stream.sections[k + 1], (share) => progress((k + share) / all));
    return latents;
  }
}
