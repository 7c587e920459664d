// Functions that modules outside of the program and of `luamq.core` call: src/modules.
#ifndef LUAMQ_BASE_API_H
#define LUAMQ_BASE_API_H

#define LUAMQ_API __attribute__((visibility("default")))

#endif
