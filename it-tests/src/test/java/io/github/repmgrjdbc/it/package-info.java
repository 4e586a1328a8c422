/** What happens when real nodes die. */
@NullMarked
package io.github.repmgrjdbc.it;

import org.jspecify.annotations.NullMarked;
