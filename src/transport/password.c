#include "transport/password.h"

#include <argon2.h>
#include <assert.h>
#include <crypt.h>
#include <stdlib.h>

#include "base/mem.h"
#include "transport/crypto.h"

#define FIELDS_MAX   6
#define SALT_BYTES   16
#define DIGEST_BYTES 64 // of SHA-512
#define SALT_MAX     64 // bytes

#define ARGON2_BYTES      32
#define ARGON2_KIB        19456
#define ARGON2_KIB_MAX    (256u << 10)
#define ARGON2_PASSES_MAX 64
#define ARGON2_LANES_MAX  16

#define BCRYPT_COST_MAX   14
#define SHACRYPT_COST_MAX 1000000

// --- the parts of a hash ---

struct fields { // "$a$b$c" has a, b and c
  struct slice at[FIELDS_MAX];
  unsigned count;
};

// False: it is none, or has too many.
static bool split(struct slice hash, struct fields *out) {
  *out = (struct fields){.count = 0};
  if (!hash.len || hash.len >= PASSWORD_HASH_MAX || hash.ptr[0] != '$') return false;
  size_t from = 1;
  for (size_t i = 1; i <= hash.len; i++) {
    if (i < hash.len && hash.ptr[i] != '$') continue;
    if (out->count == FIELDS_MAX) return false;
    out->at[out->count++] = slice_of(hash.ptr + from, i - from);
    from = i + 1;
  }
  return true;
}

static bool is_crypt_text(struct slice s, size_t least, size_t most) {
  for (size_t i = 0; i < s.len; i++) {
    uint8_t c = s.ptr[i];
    if (!((c >= '.' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))) return false;
  }
  return s.len >= least && s.len <= most;
}

// Decimal digits without a sign or a leading zero. 0: it is none, or more than `most`.
static uint32_t number_of(struct slice s, uint32_t most) {
  uint64_t n = 0;
  if (!s.len || s.len > 9 || s.ptr[0] == '0') return 0;
  for (size_t i = 0; i < s.len; i++) {
    if (s.ptr[i] < '0' || s.ptr[i] > '9') return 0;
    n = n * 10 + (s.ptr[i] - '0');
  }
  return n <= most ? (uint32_t)n : 0;
}

struct bytes {
  uint8_t at[SALT_MAX];
  size_t len;
};
_Static_assert(SALT_MAX >= DIGEST_BYTES, "a digest fits");

static struct slice slice_of_bytes(const struct bytes *b) { return slice_of(b->at, b->len); }

// Base64, whose padding may be left out where `padded` is false. False: it is none, or does not fit.
static bool decode(struct slice text, bool padded, struct bytes *out) {
  struct buf with_padding = BUF_INIT, raw = BUF_INIT;
  buf_add_slice(&with_padding, text);
  while (!padded && with_padding.len % 4)
    buf_add_byte(&with_padding, '=');
  bool fine = crypto_base64_decode(buf_slice(&with_padding), &raw) && raw.len && raw.len <= sizeof out->at;
  out->len = fine ? raw.len : 0;
  if (fine) memcpy(out->at, raw.ptr, raw.len);
  buf_release(&with_padding);
  buf_release(&raw);
  return fine;
}

static void encode(const uint8_t *bytes, size_t len, bool padded, struct buf *out) {
  crypto_base64_encode(slice_of(bytes, len), out);
  while (!padded && out->ptr[out->len - 1] == '=')
    out->len--;
}

// --- crypt(3): yescrypt, bcrypt, SHA-512 ---

// What crypt_gensalt makes for costs that take at most 128 MiB; more is more than a broker should spend on a
// login.
static const char *yescrypt_problem(const struct fields *f) {
  static const char *const parameters[] = {"j75", "j85", "j7T", "j8T", "j9T", "jAT", "jBT", "jCT"};
  for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
    if (f->count == 4 && slice_eq(f->at[1], slice_str(parameters[i])))
      return is_crypt_text(f->at[2], 1, 86) && is_crypt_text(f->at[3], 43, 43) ? NULL : "not a yescrypt hash";
  return f->count == 4
             ? "yescrypt with parameters that are not those of crypt_gensalt, or with a cost above 8"
             : "not a yescrypt hash";
}

static const char *bcrypt_problem(const struct fields *f) {
  if (f->count != 3 || f->at[1].len != 2 || !is_crypt_text(f->at[2], 53, 53)) return "not a bcrypt hash";
  struct slice cost = f->at[1].ptr[0] == '0' ? slice_from(f->at[1], 1) : f->at[1];
  return number_of(cost, BCRYPT_COST_MAX) >= 4 ? NULL : "bcrypt with a cost that is not 4 to 14";
}

static const char *shacrypt_problem(const struct fields *f) {
  bool has_rounds = f->count == 4;
  if ((f->count != 3 && !has_rounds) || !is_crypt_text(f->at[f->count - 2], 1, 16) ||
      !is_crypt_text(f->at[f->count - 1], 86, 86))
    return "not a SHA-512 hash";
  if (!has_rounds) return NULL;
  bool fine =
      slice_starts(f->at[1], SLICE("rounds=")) && number_of(slice_from(f->at[1], 7), SHACRYPT_COST_MAX);
  return fine ? NULL : "SHA-512 with rounds that are not 1 to 1000000";
}

// NULL: it fails. (Not crypt_r: a sanitizer that was loaded before libcrypt takes its place, and ends in
// nowhere.)
static const char *run_crypt(struct slice password, const char *setting, struct crypt_data *data) {
  char phrase[PASSWORD_MAX + 1] = "";
  if (password.len) memcpy(phrase, password.ptr, password.len);
  const char *made = crypt_rn(phrase, setting, data, (int)sizeof *data);
  explicit_bzero(phrase, sizeof phrase);
  return made;
}

static void free_crypt_data(struct crypt_data *data) {
  explicit_bzero(data, sizeof *data);
  mem_free(data);
}

static enum password_result crypt_verify(struct slice password, struct slice hash, const struct fields *f) {
  (void)f;
  if (password_problem(password)) return PASSWORD_DIFFERS;
  char setting[PASSWORD_HASH_MAX];
  memcpy(setting, hash.ptr, hash.len);
  setting[hash.len] = '\0';
  struct crypt_data *data = mem_calloc(1, sizeof *data);
  const char *made = run_crypt(password, setting, data);
  enum password_result result = PASSWORD_FAILED;
  if (made) result = slice_eq_secret(slice_str(made), hash) ? PASSWORD_MATCHES : PASSWORD_DIFFERS;
  free_crypt_data(data);
  return result;
}

static const char *make_yescrypt(uint32_t cost, struct slice password, struct buf *out) {
  char setting[CRYPT_GENSALT_OUTPUT_SIZE];
  if (!crypt_gensalt_rn("$y$", cost, NULL, 0, setting, sizeof setting)) return "crypt(3) makes no salt";
  struct crypt_data *data = mem_calloc(1, sizeof *data);
  const char *made = run_crypt(password, setting, data);
  if (made) buf_add_str(out, made);
  free_crypt_data(data);
  return made ? NULL : "crypt(3) makes no yescrypt hash";
}

// --- what mosquitto_passwd makes: PBKDF2, and one round of SHA-512 ---

static bool has_salt_and_digest(const struct fields *f, unsigned salt_at, struct bytes *salt,
                                struct bytes *digest) {
  return f->count == salt_at + 2 && decode(f->at[salt_at], true, salt) &&
         decode(f->at[salt_at + 1], true, digest) && digest->len == DIGEST_BYTES;
}

static const char *pbkdf2_problem(const struct fields *f) {
  struct bytes salt, digest;
  if (!has_salt_and_digest(f, 2, &salt, &digest)) return "not a PBKDF2 hash";
  return number_of(f->at[1], CRYPTO_ITERATIONS_MAX) ? NULL
                                                    : "PBKDF2 with iterations that are not 1 to 1000000";
}

static enum password_result compare(bool made, const uint8_t *got, const struct bytes *digest) {
  if (!made) return PASSWORD_FAILED;
  bool same = slice_eq_secret(slice_of(got, DIGEST_BYTES), slice_of_bytes(digest));
  return same ? PASSWORD_MATCHES : PASSWORD_DIFFERS;
}

static enum password_result pbkdf2_verify(struct slice password, struct slice hash, const struct fields *f) {
  (void)hash;
  struct bytes salt, digest;
  uint8_t got[DIGEST_BYTES];
  has_salt_and_digest(f, 2, &salt, &digest);
  uint32_t iterations = number_of(f->at[1], CRYPTO_ITERATIONS_MAX);
  bool made = crypto_pbkdf2("sha512", password, slice_of_bytes(&salt), iterations, got, sizeof got);
  return compare(made, got, &digest);
}

static const char *sha512_problem(const struct fields *f) {
  struct bytes salt, digest;
  return has_salt_and_digest(f, 1, &salt, &digest) ? NULL : "not a SHA-512 hash";
}

static enum password_result sha512_verify(struct slice password, struct slice hash, const struct fields *f) {
  (void)hash;
  struct bytes salt, digest;
  uint8_t got[CRYPTO_DIGEST_MAX];
  struct buf salted = BUF_INIT;
  has_salt_and_digest(f, 1, &salt, &digest);
  buf_reserve_exact(&salted, password.len + salt.len);
  buf_add_slice(&salted, password);
  buf_add_slice(&salted, slice_of_bytes(&salt));
  bool made = crypto_hash("sha512", buf_slice(&salted), got) == DIGEST_BYTES;
  explicit_bzero(salted.ptr, salted.len);
  buf_release(&salted);
  return compare(made, got, &digest);
}

static const char *make_pbkdf2(uint32_t iterations, struct slice password, struct buf *out) {
  uint8_t salt[SALT_BYTES], digest[DIGEST_BYTES];
  if (!crypto_random(salt, sizeof salt)) return "the system has no random bytes";
  if (!crypto_pbkdf2("sha512", password, slice_of(salt, sizeof salt), iterations, digest, sizeof digest))
    return "OpenSSL refuses PBKDF2 with SHA-512";
  buf_printf(out, "$7$%u$", iterations);
  encode(salt, sizeof salt, true, out);
  buf_add_byte(out, '$');
  encode(digest, sizeof digest, true, out);
  return NULL;
}

// --- Argon2id ---

struct argon2 {
  uint32_t kib, passes, lanes;
  struct bytes salt, digest;
};

// "m=19456,t=2,p=1", in this order. False: it is not.
static bool read_parameters(struct slice text, struct argon2 *out) {
  static const struct {
    char name;
    uint32_t most;
    size_t offset;
  } rows[] = {{'m', ARGON2_KIB_MAX, offsetof(struct argon2, kib)},
              {'t', ARGON2_PASSES_MAX, offsetof(struct argon2, passes)},
              {'p', ARGON2_LANES_MAX, offsetof(struct argon2, lanes)}};
  for (size_t i = 0; i < 3; i++) {
    const uint8_t *comma = text.len ? memchr(text.ptr, ',', text.len) : NULL;
    size_t len = comma ? (size_t)(comma - text.ptr) : text.len;
    if (len < 3 || text.ptr[0] != rows[i].name || text.ptr[1] != '=' || (comma != NULL) != (i < 2))
      return false;
    uint32_t value = number_of(slice_of(text.ptr + 2, len - 2), rows[i].most);
    if (!value) return false;
    *(uint32_t *)(void *)((char *)out + rows[i].offset) = value;
    text = slice_from(text, comma ? len + 1 : len);
  }
  return out->kib >= 8 * out->lanes;
}

static const char *read_argon2(const struct fields *f, struct argon2 *out) {
  if (f->count != 5 || !slice_eq(f->at[1], SLICE("v=19")) || !decode(f->at[3], false, &out->salt) ||
      !decode(f->at[4], false, &out->digest) || out->salt.len < 8 || out->digest.len < 16)
    return "not an Argon2id hash of version 19";
  if (!read_parameters(f->at[2], out))
    return "Argon2id with parameters that are none, or above m=262144,t=64,p=16";
  return NULL;
}

static const char *argon2_problem(const struct fields *f) {
  struct argon2 a;
  return read_argon2(f, &a);
}

// In the calling thread alone, however many lanes there are.
static bool argon2_hash_of(const struct argon2 *a, struct slice password, uint8_t *out, size_t len) {
  argon2_context context = {
      .out = out,
      .outlen = (uint32_t)len,
      .pwd = (uint8_t *)(uintptr_t)password.ptr,
      .pwdlen = (uint32_t)password.len,
      .salt = (uint8_t *)(uintptr_t)a->salt.at,
      .saltlen = (uint32_t)a->salt.len,
      .t_cost = a->passes,
      .m_cost = a->kib,
      .lanes = a->lanes,
      .threads = 1,
      .version = ARGON2_VERSION_13,
  };
  return argon2id_ctx(&context) == ARGON2_OK;
}

static enum password_result argon2_verify_hash(struct slice password, struct slice hash,
                                               const struct fields *f) {
  (void)hash;
  struct argon2 a;
  struct bytes got = {.len = 0};
  read_argon2(f, &a);
  got.len = a.digest.len;
  if (!argon2_hash_of(&a, password, got.at, got.len)) return PASSWORD_FAILED;
  return slice_eq_secret(slice_of_bytes(&got), slice_of_bytes(&a.digest)) ? PASSWORD_MATCHES
                                                                          : PASSWORD_DIFFERS;
}

static const char *make_argon2(uint32_t passes, struct slice password, struct buf *out) {
  struct argon2 a = {.kib = ARGON2_KIB, .passes = passes, .lanes = 1, .salt.len = SALT_BYTES};
  uint8_t digest[ARGON2_BYTES];
  if (!crypto_random(a.salt.at, SALT_BYTES)) return "the system has no random bytes";
  if (!argon2_hash_of(&a, password, digest, sizeof digest)) return "libargon2 makes no hash";
  buf_printf(out, "$argon2id$v=19$m=%u,t=%u,p=%u$", a.kib, a.passes, a.lanes);
  encode(a.salt.at, SALT_BYTES, false, out);
  buf_add_byte(out, '$');
  encode(digest, sizeof digest, false, out);
  return NULL;
}

// --- which one it is ---

struct format {
  const char *id;
  const char *(*problem)(const struct fields *f);
  enum password_result (*verify)(struct slice password, struct slice hash, const struct fields *f);
};

static const struct format formats[] = {
    {"y", yescrypt_problem, crypt_verify}, {"argon2id", argon2_problem, argon2_verify_hash},
    {"7", pbkdf2_problem, pbkdf2_verify},  {"6", shacrypt_problem, crypt_verify},
    {"2a", bcrypt_problem, crypt_verify},  {"2b", bcrypt_problem, crypt_verify},
    {"2y", bcrypt_problem, crypt_verify},
};
static const struct format old_mosquitto = {"6", sha512_problem, sha512_verify};

// Two kinds of hashes begin with "$6$": base64 of 64 bytes ends with a padding, which crypt(3) does not have.
static bool has_padding(const struct fields *f) {
  struct slice last = f->at[f->count - 1];
  return last.len && last.ptr[last.len - 1] == '=';
}

static const struct format *format_of(const struct fields *f) {
  if (slice_eq(f->at[0], SLICE("6")) && has_padding(f)) return &old_mosquitto;
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
    if (slice_eq(f->at[0], slice_str(formats[i].id))) return &formats[i];
  return NULL;
}

const char *password_hash_problem(struct slice hash) {
  struct fields f;
  if (!split(hash, &f)) return "not a hash of a password";
  const struct format *format = format_of(&f);
  return format ? format->problem(&f) : "a hash of a kind that is not known";
}

enum password_result password_verify(struct slice password, struct slice hash) {
  struct fields f;
  if (password.len > PASSWORD_MAX || password_hash_problem(hash) || !split(hash, &f)) return PASSWORD_DIFFERS;
  return format_of(&f)->verify(password, hash, &f);
}

// --- making one ---

struct maker {
  struct password_scheme scheme;
  const char *(*make)(uint32_t cost, struct slice password, struct buf *out);
};

static const struct maker makers[] = {
    {{"yescrypt", 5, 1, 8}, make_yescrypt},
    {{"argon2id", 2, 1, ARGON2_PASSES_MAX}, make_argon2},
    {{"pbkdf2", 210000, 1000, CRYPTO_ITERATIONS_MAX}, make_pbkdf2},
};

const struct password_scheme *password_scheme_at(unsigned i) {
  return i < sizeof makers / sizeof *makers ? &makers[i].scheme : NULL;
}

const struct password_scheme *password_scheme(const char *name) {
  for (unsigned i = 0; password_scheme_at(i); i++)
    if (!strcmp(password_scheme_at(i)->name, name)) return password_scheme_at(i);
  return NULL;
}

const char *password_problem(struct slice password) {
  if (password.len > PASSWORD_MAX) return "longer than 511 bytes";
  return password.len && memchr(password.ptr, 0, password.len) ? "it has a NUL in it" : NULL;
}

const char *password_hash(const struct password_scheme *scheme, uint32_t cost, struct slice password,
                          struct buf *out) {
  assert(cost >= scheme->least_cost && cost <= scheme->most_cost);
  const char *problem = password_problem(password);
  return problem ? problem : container_of(scheme, struct maker, scheme)->make(cost, password, out);
}
