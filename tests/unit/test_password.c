// Hashes of passwords: those that others made, those that are none, and those that are made here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "transport/password.h"

static const char *const of_hello[] = {
    // crypt(3)
    "$y$j9T$navIA6e0p4miyFmlB6XCS.$hZ921ThMpLBc9ODgyGsjIkM9yVNEzpxTQNnXGPi6Bu9",
    "$y$j75$v9lQsYbhMOcrAbFFFBhsu.$tfM.8J/OO2PB6FKIRja8nAH654T/5gLlWkVux/KNGJD",
    "$2b$05$fH2hGJQGLez7o2UYqnMUyuD8HFPPyawGxcXnDxseR2FvLWtyyyqLG",
    "$6$rounds=5000$abcdefgh$"
    "bp46WUxDu2cphMRE0PvVJlqas2imuSq186YS793XKfmqn9XUEL17HECskUTZInaNigNndLLYc7A6yWBmFEFn3/",
    // openssl passwd -6
    "$6$abcdefgh$bp46WUxDu2cphMRE0PvVJlqas2imuSq186YS793XKfmqn9XUEL17HECskUTZInaNigNndLLYc7A6yWBmFEFn3/",
    // mosquitto_passwd, and with -H sha512
    "$7$101$8UY2J1GrxNe7HeGq$kOqgXGitD8ZshpLsJZFDR8+gwKB71fZMXVzL8GU3GR1W2J7INB28oFnUXXYqHD+"
    "p0OgPZGQwZ1McNqj4PpuQ7A==",
    "$6$K4hr+jOSGJyXjPUR$N98AHRGOa/+Sk0UDs6dcwcgWZ6a+w4v3qebO/"
    "z7bjpHnJcK0mc3xVsq3C+5MBv6rHCuvpxUAt87TSGNYH85NsQ==",
    // libargon2, also with two lanes
    "$argon2id$v=19$m=1024,t=2,p=1$c2FsdHNhbHRzYWx0$WtVExZBbNQGe2QPY5LF1tzkIYdspmXzQZYodK2Z9G0A",
    "$argon2id$v=19$m=2048,t=1,p=2$c2FsdHNhbHRzYWx0$cXZl5ZHZRTOFFp4tGNd9/MXJe3iU7xav",
};

#define COUNT(list) (sizeof(list) / sizeof *(list))

static void a_hash_of_another_program_is_verified(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(of_hello); i++) {
    struct slice hash = slice_str(of_hello[i]);
    assert_null(password_hash_problem(hash));
    assert_int_equal(password_verify(SLICE("hello"), hash), PASSWORD_MATCHES);
    static const char *const others[] = {"", "hell", "hello ", "Hello"};
    for (size_t k = 0; k < COUNT(others); k++)
      assert_int_equal(password_verify(slice_str(others[k]), hash), PASSWORD_DIFFERS);
    assert_int_equal(password_verify(SLICE("hello\0x"), hash), PASSWORD_DIFFERS);
    assert_int_equal(password_verify(slice_of(NULL, 0), hash), PASSWORD_DIFFERS);
  }
}

// Whatever byte is taken away or another one, it is none or another password's, and nothing reads beyond it.
static void a_hash_with_a_wrong_byte_does_not_match(void **state) {
  (void)state;
  static const size_t quick[] = {1, 5, 6};
  for (size_t i = 0; i < COUNT(quick); i++) {
    struct slice good = slice_str(of_hello[quick[i]]);
    for (size_t at = 0; at < good.len; at++) {
      uint8_t *bad = mem_dup(good.ptr, good.len);
      assert_int_not_equal(password_verify(SLICE("hello"), slice_of(bad, at)), PASSWORD_MATCHES);
      bad[at] = bad[at] == '$' ? 'a' : '$';
      assert_int_not_equal(password_verify(SLICE("hello"), slice_of(bad, good.len)), PASSWORD_MATCHES);
      mem_free(bad);
    }
  }
}

static void what_is_no_hash_is_told(void **state) {
  (void)state;
  static const struct {
    const char *text, *problem;
  } rows[] = {
      {"", "not a hash of a password"},
      {"hello", "not a hash of a password"},
      {"$1$abcdefgh$aaaaaaaaaaaaaaaaaaaaaa", "a hash of a kind that is not known"},
      {"$", "a hash of a kind that is not known"},
      {"$y$j9T$salt$short", "not a yescrypt hash"},
      {"$y$j9T$navIA6e0p4miyFmlB6XCS.", "not a yescrypt hash"},
      {"$y$jFT$navIA6e0p4miyFmlB6XCS.$hZ921ThMpLBc9ODgyGsjIkM9yVNEzpxTQNnXGPi6Bu9",
       "yescrypt with parameters that are not those of crypt_gensalt, or with a cost above 8"},
      {"$2b$31$fH2hGJQGLez7o2UYqnMUyuaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
       "bcrypt with a cost that is not 4 to 14"},
      {"$2b$05$fH2", "not a bcrypt hash"},
      {"$7$0$8UY2J1GrxNe7HeGq$kOqgXGitD8ZshpLsJZFDR8+gwKB71fZMXVzL8GU3GR1W2J7INB28oFnUXXYqHD+"
       "p0OgPZGQwZ1McNqj4PpuQ7A==",
       "PBKDF2 with iterations that are not 1 to 1000000"},
      {"$7$9999999$8UY2J1GrxNe7HeGq$kOqgXGitD8ZshpLsJZFDR8+gwKB71fZMXVzL8GU3GR1W2J7INB28oFnUXXYqHD+"
       "p0OgPZGQwZ1McNqj4PpuQ7A==",
       "PBKDF2 with iterations that are not 1 to 1000000"},
      {"$7$101$8UY2J1GrxNe7HeGq$kOqg", "not a PBKDF2 hash"},
      {"$6$!!$N98AHRGOa/+Sk0UDs6dcwcgWZ6a+w4v3qebO/z7bjpHnJcK0mc3xVsq3C+5MBv6rHCuvpxUAt87TSGNYH85NsQ==",
       "not a SHA-512 hash"},
      {"$6$abcdefgh$short", "not a SHA-512 hash"},
      {"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ", "not an Argon2id hash of version 19"},
      {"$argon2id$v=16$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
       "not an Argon2id hash of version 19"},
      {"$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
       "Argon2id with parameters that are none, or above m=262144,t=64,p=16"},
      {"$argon2id$v=19$t=2,m=1024,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
       "Argon2id with parameters that are none, or above m=262144,t=64,p=16"},
      {"$argon2id$v=19$m=1024,t=2,p=1,$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
       "Argon2id with parameters that are none, or above m=262144,t=64,p=16"},
      {"$argon2id$v=19$m=8,t=2,p=2$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
       "Argon2id with parameters that are none, or above m=262144,t=64,p=16"},
      {"$argon2i$v=19$m=1024,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
       "a hash of a kind that is not known"},
      {"$y$j9T$a$b$c$d$e", "not a hash of a password"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    const char *problem = password_hash_problem(slice_str(rows[i].text));
    assert_non_null(problem);
    assert_string_equal(problem, rows[i].problem);
    assert_int_equal(password_verify(slice_str(rows[i].text), slice_str(rows[i].text)), PASSWORD_DIFFERS);
  }
}

static void each_scheme_makes_hashes_with_salts_of_their_own(void **state) {
  (void)state;
  const struct password_scheme *scheme;
  for (unsigned i = 0; (scheme = password_scheme_at(i)); i++) {
    struct buf one = BUF_INIT, other = BUF_INIT;
    assert_ptr_equal(password_scheme(scheme->name), scheme);
    assert_null(password_hash(scheme, scheme->least_cost, SLICE("hello"), &one));
    assert_null(password_hash(scheme, scheme->default_cost, SLICE("hello"), &other));
    assert_null(password_hash_problem(buf_slice(&one)));
    assert_false(slice_eq(buf_slice(&one), buf_slice(&other)));
    assert_int_equal(password_verify(SLICE("hello"), buf_slice(&one)), PASSWORD_MATCHES);
    assert_int_equal(password_verify(SLICE("hello"), buf_slice(&other)), PASSWORD_MATCHES);
    assert_int_equal(password_verify(SLICE("hallo"), buf_slice(&other)), PASSWORD_DIFFERS);
    buf_release(&one);
    buf_release(&other);
  }
  assert_null(password_scheme("md5"));
}

static void what_a_scheme_makes_at_its_highest_cost_can_be_verified(void **state) {
  (void)state;
  const struct password_scheme *yescrypt = password_scheme("yescrypt");
  struct buf hash = BUF_INIT;
  assert_null(password_hash(yescrypt, yescrypt->most_cost, SLICE("x"), &hash));
  assert_int_equal(password_verify(SLICE("x"), buf_slice(&hash)), PASSWORD_MATCHES);
  buf_release(&hash);
}

static void a_password_that_crypt_would_cut_off_has_no_hash(void **state) {
  (void)state;
  uint8_t longest[PASSWORD_MAX + 1];
  memset(longest, 'a', sizeof longest);
  struct buf hash = BUF_INIT;
  const struct password_scheme *scheme = password_scheme("yescrypt");
  assert_string_equal(password_hash(scheme, 1, slice_of(longest, sizeof longest), &hash),
                      "longer than 511 bytes");
  assert_string_equal(password_hash(scheme, 1, SLICE("a\0b"), &hash), "it has a NUL in it");
  assert_int_equal(hash.len, 0);
  assert_null(password_hash(scheme, 1, slice_of(longest, PASSWORD_MAX), &hash));
  assert_int_equal(password_verify(slice_of(longest, PASSWORD_MAX), buf_slice(&hash)), PASSWORD_MATCHES);
  assert_int_equal(password_verify(slice_of(longest, PASSWORD_MAX + 1), buf_slice(&hash)), PASSWORD_DIFFERS);
  assert_int_equal(password_verify(slice_of(longest, PASSWORD_MAX - 1), buf_slice(&hash)), PASSWORD_DIFFERS);
  buf_release(&hash);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_hash_of_another_program_is_verified),
      cmocka_unit_test(a_hash_with_a_wrong_byte_does_not_match),
      cmocka_unit_test(what_is_no_hash_is_told),
      cmocka_unit_test(each_scheme_makes_hashes_with_salts_of_their_own),
      cmocka_unit_test(what_a_scheme_makes_at_its_highest_cost_can_be_verified),
      cmocka_unit_test(a_password_that_crypt_would_cut_off_has_no_hash),
  };
  return cmocka_run_group_tests_name("password", tests, NULL, NULL);
}
