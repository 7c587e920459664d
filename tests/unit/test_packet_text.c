// Names, error texts and text forms, byte for byte.
#include "packet_feed.h"

#define BYTES(literal)                                                                                       \
  { (const uint8_t *)(literal), sizeof(literal) - 1 }

// A packet on the wire and its text form: a row is a test.
struct form {
  const char *name;
  struct slice in;
  const char *text;
};

static const struct form forms[] = {
    {"CONNECT of the reference run", BYTES("\x10\x0c\0\4MQTT\4\2\0\x1e\0\0"),
     "<Connect ClientID=\"\" KeepAlive=30 Username=\"\" Password=\"\" CleanSession=true Will=nil Version=4>"},
    {"CONNECT with everything",
     BYTES("\x10\x21\0\4MQTT\4\xec\0\0\0\2id\0\1t\0\4\1\x23\xab\xff\0\4user\0\2pw"),
     "<Connect ClientID=\"id\" KeepAlive=0 Username=\"user\" Password=\"***\" CleanSession=false "
     "Will=<Message Topic=\"t\" QOS=1 Retain=true Payload=0123abff> Version=4>"},
    {"CONNECT with an empty password shows that it was given",
     BYTES("\x10\x10\0\4MQTT\4\xc2\0\0\0\0\0\0\0\0"),
     "<Connect ClientID=\"\" KeepAlive=0 Username=\"\" Password=\"***\" CleanSession=true Will=nil "
     "Version=4>"},
    {"CONNECT of 3.1", BYTES("\x10\x0e\0\6MQIsdp\3\2\0\x1e\0\0"),
     "<Connect ClientID=\"\" KeepAlive=30 Username=\"\" Password=\"\" CleanSession=true Will=nil Version=3>"},
    {"CONNECT of an unknown level", BYTES("\x10\x0c\0\4MQTT\6\2\0\x1e\0\0"),
     "<Connect ClientID=\"\" KeepAlive=0 Username=\"\" Password=\"\" CleanSession=false Will=nil Version=6>"},
    {"CONNACK of the reference run", BYTES("\x20\x02\0\0"), "<Connack SessionPresent=false ReturnCode=0>"},
    {"CONNACK with session present", BYTES("\x20\x02\1\0"), "<Connack SessionPresent=true ReturnCode=0>"},
    {"CONNACK that refuses", BYTES("\x20\x02\0\5"), "<Connack SessionPresent=false ReturnCode=5>"},
    {"PUBLISH of the reference run", BYTES("\x30\x0a\0\4testtest"),
     "<Publish ID=0 Message=<Message Topic=\"test\" QOS=0 Retain=false Payload=74657374> Dup=false>"},
    {"PUBLISH of QoS 2 with dup, retain and no payload", BYTES("\x3d\x05\0\1t\0\7"),
     "<Publish ID=7 Message=<Message Topic=\"t\" QOS=2 Retain=true Payload=> Dup=true>"},
    {"PUBACK", BYTES("\x40\x02\0\1"), "<Puback ID=1>"},
    {"PUBREC", BYTES("\x50\x02\0\1"), "<Pubrec ID=1>"},
    {"PUBREL", BYTES("\x62\x02\0\1"), "<Pubrel ID=1>"},
    {"PUBCOMP", BYTES("\x70\x02\xff\xff"), "<Pubcomp ID=65535>"},
    {"SUBSCRIBE of the reference run", BYTES("\x82\x09\0\1\0\4test\0"),
     "<Subscribe ID=1 Subscriptions=[\"test\"=>0]>"},
    {"SUBSCRIBE with two filters", BYTES("\x82\x0c\0\2\0\3a/+\1\0\1#\2"),
     "<Subscribe ID=2 Subscriptions=[\"a/+\"=>1, \"#\"=>2]>"},
    {"SUBACK of the reference run", BYTES("\x90\x03\0\1\0"), "<Suback ID=1 ReturnCodes=[0]>"},
    {"SUBACK with a refusal", BYTES("\x90\x05\0\1\2\x80\1"), "<Suback ID=1 ReturnCodes=[2, 128, 1]>"},
    {"UNSUBSCRIBE", BYTES("\xa2\x05\0\1\0\1a"), "<Unsubscribe Topics=[\"a\"]>"},
    {"UNSUBSCRIBE with two filters", BYTES("\xa2\x08\0\1\0\1a\0\1b"), "<Unsubscribe Topics=[\"a\", \"b\"]>"},
    {"UNSUBACK", BYTES("\xb0\x02\0\1"), "<Unsuback ID=1>"},
    {"PINGREQ", BYTES("\xc0\0"), "<Pingreq>"},
    {"PINGRESP", BYTES("\xd0\0"), "<Pingresp>"},
    {"DISCONNECT", BYTES("\xe0\0"), "<Disconnect>"},
};

static const struct form forms_5[] = {
    {"5: CONNECT with everything: passwords and authentication data do not show",
     BYTES("\x10\x4a\0\4MQTT\5\xc6\0\0\x16\x11\0\0\0\x3c\x15\0\5plain\x16\0\6secret\0\2id\x10\x18\0\0\0\5"
           "\x26\0\1n\0\1v\x09\0\1\xff\0\1t\0\1m\0\4user\0\6hidden"),
     "<Connect ClientID=\"id\" KeepAlive=0 Username=\"user\" Password=\"***\" CleanSession=true "
     "Will=<Message Topic=\"t\" QOS=0 Retain=false Payload=6d Properties=[WillDelayInterval=5, "
     "UserProperty=\"n\"=>\"v\", CorrelationData=ff]> Version=5 Properties=[SessionExpiryInterval=60, "
     "AuthenticationMethod=\"plain\", AuthenticationData=***]>"},
    {"5: CONNACK: authentication data does not show",
     BYTES("\x20\x11\0\0\x0e\x21\0\x0a\x25\0\x15\0\1m\x16\0\2pw"),
     "<Connack SessionPresent=false ReturnCode=0 Properties=[ReceiveMaximum=10, RetainAvailable=0, "
     "AuthenticationMethod=\"m\", AuthenticationData=***]>"},
    {"5: CONNACK that refuses", BYTES("\x20\3\0\x87\0"), "<Connack SessionPresent=false ReturnCode=135>"},
    {"5: PUBLISH", BYTES("\x32\x0f\0\1t\0\7\7\2\0\0\0\x3c\1\1hi"),
     "<Publish ID=7 Message=<Message Topic=\"t\" QOS=1 Retain=false Payload=6869 "
     "Properties=[MessageExpiryInterval=60, PayloadFormatIndicator=1]> Dup=false>"},
    {"5: PUBLISH with an alias alone", BYTES("\x30\x06\0\0\3\x23\0\1"),
     "<Publish ID=0 Message=<Message Topic=\"\" QOS=0 Retain=false Payload= Properties=[TopicAlias=1]> "
     "Dup=false>"},
    {"5: PUBACK", BYTES("\x40\2\0\1"), "<Puback ID=1 ReasonCode=0>"},
    {"5: PUBREC with a reason string", BYTES("\x50\x0a\0\1\x97\6\x1f\0\3\"w\n"),
     "<Pubrec ID=1 ReasonCode=151 Properties=[ReasonString=\"\\\"w\\n\"]>"},
    {"5: PUBREL", BYTES("\x62\3\0\1\x92"), "<Pubrel ID=1 ReasonCode=146>"},
    {"5: PUBCOMP", BYTES("\x70\2\0\1"), "<Pubcomp ID=1 ReasonCode=0>"},
    {"5: SUBSCRIBE", BYTES("\x82\x0d\0\1\2\x0b\7\0\1a\x2e\0\1b\1"),
     "<Subscribe ID=1 Subscriptions=[\"a\"=>2 NoLocal=true RetainAsPublished=true RetainHandling=2, "
     "\"b\"=>1] "
     "Properties=[SubscriptionIdentifier=7]>"},
    {"5: SUBACK", BYTES("\x90\5\0\1\0\1\x87"), "<Suback ID=1 ReturnCodes=[1, 135]>"},
    {"5: UNSUBSCRIBE", BYTES("\xa2\x0b\0\1\5\x26\0\0\0\0\0\1a"),
     "<Unsubscribe Topics=[\"a\"] Properties=[UserProperty=\"\"=>\"\"]>"},
    {"5: UNSUBACK", BYTES("\xb0\5\0\1\0\0\x11"), "<Unsuback ID=1 ReturnCodes=[0, 17]>"},
    {"5: DISCONNECT", BYTES("\xe0\0"), "<Disconnect ReasonCode=0>"},
    {"5: DISCONNECT with a reason", BYTES("\xe0\7\4\5\x11\0\0\0\1"),
     "<Disconnect ReasonCode=4 Properties=[SessionExpiryInterval=1]>"},
    {"5: AUTH", BYTES("\xf0\x0c\x18\x0a\x15\0\1m\x16\0\3key"),
     "<Auth ReasonCode=24 Properties=[AuthenticationMethod=\"m\", AuthenticationData=***]>"},
};

static void check_form(const struct form *form, uint8_t version) {
  struct packet p;
  uint8_t *copy;
  struct buf text = BUF_INIT;
  assert_int_equal(feed(&p, form->in, version, NO_LIMIT, &copy), form->in.len);
  packet_format(&p, version, &text);
  assert_string_equal(buf_text(&text), form->text);
  buf_release(&text);
  mem_free(copy);
}

static void test_form(void **state) { check_form(*state, MQTT_3_1_1); }

static void test_form_5(void **state) { check_form(*state, MQTT_5); }

// A topic, and how it is quoted. Unlike a decoded one, a message's topic may be anything.
static const struct {
  struct slice in;
  const char *quoted;
} quotes[] = {
    {BYTES(""), "\"\""},
    {BYTES("a b'c/#+$~"), "\"a b'c/#+$~\""},
    {BYTES("\"\\"), "\"\\\"\\\\\""},
    {BYTES("\a\b\f\n\r\t\v"), "\"\\a\\b\\f\\n\\r\\t\\v\""},
    {BYTES("\0\x01\x1b\x1f\x7f"), "\"\\x00\\x01\\x1b\\x1f\\x7f\""},
    {BYTES("b\xc3\xbcro \xe2\x82\xac \xf0\x9f\x8c\xa1"), "\"b\xc3\xbcro \xe2\x82\xac \xf0\x9f\x8c\xa1\""},
    {BYTES("a\xff"
           "b\xc3"),
     "\"a\\xffb\\xc3\""},
    {BYTES("\xed\xa0\x80"), "\"\\xed\\xa0\\x80\""}, // a surrogate is three invalid bytes
    {BYTES("\xf0\x9f\x8c"), "\"\\xf0\\x9f\\x8c\""},
    {BYTES("\xc0\x80"), "\"\\xc0\\x80\""},
    {BYTES("\xef\xbf\xbd"), "\"\xef\xbf\xbd\""}, // U+FFFD itself is printable
    {BYTES("\xc2\x80\xc2\x9f\xc2\xa0\xc2\xa1"), "\"\\u0080\\u009f\\u00a0\xc2\xa1\""},
    {BYTES("\xc2\xad"), "\"\\u00ad\""},
    {BYTES("\xe2\x80\x8b\xe2\x80\xa8\xe2\x80\xa9\xe3\x80\x80"), "\"\\u200b\\u2028\\u2029\\u3000\""},
    {BYTES("\xee\x80\x80\xef\xbb\xbf\xef\xbf\xbf"), "\"\\ue000\\ufeff\\uffff\""},
    {BYTES("\xf3\xa0\x80\x81\xf4\x8f\xbf\xbf"), "\"\\U000e0001\\U0010ffff\""},
};

static void test_quotes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++) {
    struct packet_message m = {.topic = quotes[i].in, .qos = 1};
    struct buf text = BUF_INIT, expected = BUF_INIT;
    packet_format_message(&m, &text);
    buf_printf(&expected, "<Message Topic=%s QOS=1 Retain=false Payload=>", quotes[i].quoted);
    assert_string_equal(buf_text(&text), buf_text(&expected));
    buf_release(&text);
    buf_release(&expected);
  }
}

static void test_appends(void **state) {
  (void)state;
  struct packet p = {.type = PACKET_PINGREQ};
  struct buf text = BUF_INIT;
  buf_add_str(&text, "B [packet received] ");
  packet_format(&p, MQTT_3_1_1, &text);
  assert_string_equal(buf_text(&text), "B [packet received] <Pingreq>");
  buf_release(&text);
}

static void test_unknown_type(void **state) {
  (void)state;
  for (unsigned type = 0; type < 256; type++) {
    bool known = type >= PACKET_CONNECT && type <= PACKET_AUTH;
    assert_true(known != (strcmp(packet_type_name((uint8_t)type), "Unknown") == 0));
  }
  struct packet p = {.type = 200};
  struct buf text = BUF_INIT;
  packet_format(&p, MQTT_3_1_1, &text);
  assert_string_equal(buf_text(&text), "<Unknown>");
  buf_release(&text);
}

static void test_errors(void **state) {
  (void)state;
  assert_string_equal(packet_strerror(PACKET_MALFORMED_LENGTH), "malformed remaining length");
  assert_string_equal(packet_strerror(PACKET_TOO_LARGE), "read limit exceeded");
  assert_string_equal(packet_strerror(0), "unknown packet error");
  assert_string_equal(packet_strerror(PACKET_BAD_OPTIONS - 1), "unknown packet error");
  for (int a = PACKET_BAD_OPTIONS; a < 0; a++)
    for (int b = PACKET_BAD_OPTIONS; b < a; b++)
      assert_string_not_equal(packet_strerror(a), packet_strerror(b));
}

static const struct CMUnitTest others[] = {
    {"strings are quoted", test_quotes, NULL, NULL, NULL},
    {"a text form is appended", test_appends, NULL, NULL, NULL},
    {"what is no type is unknown", test_unknown_type, NULL, NULL, NULL},
    {"every error has its text", test_errors, NULL, NULL, NULL},
};

#define OTHERS  (sizeof others / sizeof *others)
#define FORMS   (sizeof forms / sizeof *forms)
#define FORMS_5 (sizeof forms_5 / sizeof *forms_5)

int main(void) {
  struct CMUnitTest tests[OTHERS + FORMS + FORMS_5];
  struct CMUnitTest *t = tests + OTHERS;
  memcpy(tests, others, sizeof others);
  for (size_t i = 0; i < FORMS; i++)
    *t++ = (struct CMUnitTest){forms[i].name, test_form, NULL, NULL, (void *)&forms[i]};
  for (size_t i = 0; i < FORMS_5; i++)
    *t++ = (struct CMUnitTest){forms_5[i].name, test_form_5, NULL, NULL, (void *)&forms_5[i]};
  return cmocka_run_group_tests_name("packet text", tests, NULL, NULL);
}
