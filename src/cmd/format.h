// The output of `luamq sub`: a message by a format such as "%t %p".
//
//   %t topic   %p payload   %x payload in hex   %X in upper case   %l its length   %j all as JSON
//   %q QoS     %r retain    %d dup              %m packet id       %I date and time   %U seconds since 1970
//   %%  %      @X  strftime's %X   @N nanoseconds   @@  @      \\ \0 \a \e \n \r \t \v
//
// and properties of MQTT 5, empty where there are none:
//
//   %A topic alias   %C content type   %D correlation data   %E message expiry interval
//   %F payload format indicator   %P user properties, "name:value name:value"   %R response topic
//   %S subscription identifiers, "1 2"
#ifndef LUAMQ_CMD_FORMAT_H
#define LUAMQ_CMD_FORMAT_H

#include <stdbool.h>
#include <time.h>

#include "client/client.h"

bool format_valid(const char *format);
// Appends the text; `format` is valid.
void format_message(struct buf *out, const char *format, const struct mqtt_client_event *m,
                    struct timespec now);

#endif
